//go:build race

package schedule

// underRace: the embedded SQLite is some thirty times slower under the race detector.
const underRace = true

//go:build race

package store

// raceScale divides the sizes of tests that write much: the embedded SQLite is about thirty times slower under the race detector.
const raceScale = 20

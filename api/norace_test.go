//go:build !race

package api

// raceScale divides the sizes of tests that are slow under the race detector.
const raceScale = 1

//go:build !race

package store

// raceScale divides the sizes of tests that write much; see race_test.go.
const raceScale = 1

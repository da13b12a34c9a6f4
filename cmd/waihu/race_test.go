//go:build race

package main

// underRace says that the race detector watches: sound is computed many times slower.
const underRace = true

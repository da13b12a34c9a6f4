//go:build race

package carrier

// maxAtOnce calls at a time: under the race detector sound is ten times as dear.
const maxAtOnce = 12

//go:build !race

package carrier

// maxAtOnce calls at a time.
const maxAtOnce = 80

package carrier

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// mixed is the suffix that draws from a Mixture.
const mixed = 90

// Mixture is a population of callees, from which suffix 90 draws.
type Mixture struct {
	AnswerRate float64       // how many answer and talk, 0 to 1
	Ring       time.Duration // median of the ring time of those who answer
	RingSigma  float64       // spread of its logarithm
	Failures   map[int]int   // the others: suffix to weight
}

// DefaultMixture is a day that a Chinese call list may have.
func DefaultMixture() *Mixture {
	return &Mixture{AnswerRate: 0.45, Ring: 6 * time.Second, RingSigma: 0.6,
		Failures: map[int]int{4: 35, 3: 20, 2: 15, 5: 12, 6: 8, 8: 5, 12: 3, 9: 2}}
}

const longestRing = 40 * time.Second

func (m *Mixture) check() error {
	if m.AnswerRate < 0 || m.AnswerRate > 1 || m.Ring < 0 || m.RingSigma < 0 {
		return fmt.Errorf("carrier: mixture: answer rate %v, ring %v, sigma %v: a rate within 0 to 1 and no negative time were expected", m.AnswerRate, m.Ring, m.RingSigma)
	}
	total := 0
	for suffix, w := range m.Failures {
		if _, ok := behaviours[suffix]; !ok || suffix == mixed || w < 0 {
			return fmt.Errorf("carrier: mixture: suffix %02d with weight %d: a suffix that has a script and a weight of 0 or more were expected", suffix, w)
		}
		total += w
	}
	if total == 0 && m.AnswerRate < 1 {
		return fmt.Errorf("carrier: mixture: an answer rate of %v wants failures for the rest", m.AnswerRate)
	}
	return nil
}

// drawn is one callee of the population.
type drawn struct {
	suffix int
	ring   time.Duration // 0: that of the script
}

func (m *Mixture) draw(rng *rand.Rand) drawn {
	if rng.Float64() < m.AnswerRate {
		ring := time.Duration(float64(m.Ring) * math.Exp(m.RingSigma*rng.NormFloat64()))
		return drawn{1, min(ring, longestRing)}
	}
	total := 0
	for _, w := range m.Failures {
		total += w
	}
	n := rng.IntN(total)
	for suffix := range 100 { // in order, since a map has none
		if n -= m.Failures[suffix]; n < 0 {
			return drawn{suffix: suffix}
		}
	}
	return drawn{suffix: 4}
}

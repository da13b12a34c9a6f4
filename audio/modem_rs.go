package audio

// Reed-Solomon RS(20,15) over GF(256), primitive polynomial 0x11D, generator
// roots alpha^0 to alpha^4: five parity bytes, which restore up to five bytes
// whose places are known.
const (
	rsWord   = 20
	rsData   = 15
	rsParity = rsWord - rsData
)

var gfExp, gfLog = func() (exp [510]byte, log [256]byte) {
	x := 1
	for i := range 255 {
		exp[i], exp[i+255] = byte(x), byte(x)
		log[x] = byte(i)
		if x <<= 1; x > 255 {
			x ^= 0x11D
		}
	}
	return exp, log
}()

func gfMul(a, b byte) byte {
	if a == 0 || b == 0 {
		return 0
	}
	return gfExp[int(gfLog[a])+int(gfLog[b])]
}

func gfInv(a byte) byte { return gfExp[255-int(gfLog[a])] }

// rsGenerator is the product of (x - alpha^i), highest power first, without the leading one.
var rsGenerator = func() (g [rsParity]byte) {
	poly := []byte{1}
	for i := range rsParity {
		next := make([]byte, len(poly)+1)
		for j, c := range poly {
			next[j] ^= c
			next[j+1] ^= gfMul(c, gfExp[i])
		}
		poly = next
	}
	copy(g[:], poly[1:])
	return g
}()

// rsEncode fills the parity bytes of w.
func rsEncode(w *[rsWord]byte) {
	var rem [rsParity]byte
	for _, c := range w[:rsData] {
		f := c ^ rem[0]
		copy(rem[:], rem[1:])
		rem[rsParity-1] = 0
		for i := range rem {
			rem[i] ^= gfMul(f, rsGenerator[i])
		}
	}
	copy(w[rsData:], rem[:])
}

// rsFill restores the bytes of w at the places lost (at most five) so that it is
// a codeword, and says whether that was possible. With five places it always
// is, so the caller needs another check (the CRC).
func rsFill(w *[rsWord]byte, lost []int) bool {
	if len(lost) > rsParity {
		return false
	}
	for _, p := range lost {
		w[p] = 0
	}
	// The syndromes are linear in the missing bytes: sum over them of
	// byte * root^power = syndrome. Solve by elimination, one row per root.
	var m [rsParity][rsParity + 1]byte
	for r := range rsParity {
		s := byte(0)
		for _, c := range w {
			s = gfMul(s, gfExp[r]) ^ c
		}
		m[r][rsParity] = s
		for c, p := range lost {
			m[r][c] = gfExp[r*(rsWord-1-p)%255]
		}
	}
	for c := range lost {
		pivot := c
		for pivot < rsParity && m[pivot][c] == 0 {
			pivot++
		}
		if pivot == rsParity {
			return false
		}
		m[c], m[pivot] = m[pivot], m[c]
		inv := gfInv(m[c][c])
		for k := range m[c] {
			m[c][k] = gfMul(m[c][k], inv)
		}
		for r := range rsParity {
			if f := m[r][c]; r != c && f != 0 {
				for k := range m[r] {
					m[r][k] ^= gfMul(f, m[c][k])
				}
			}
		}
	}
	for r := len(lost); r < rsParity; r++ {
		if m[r][rsParity] != 0 {
			return false // the known bytes contradict each other
		}
	}
	for c, p := range lost {
		w[p] = m[c][rsParity]
	}
	return true
}

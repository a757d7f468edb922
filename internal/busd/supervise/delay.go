package supervise

import "time"

// delays computes how long to wait before a restart.
type delays struct {
	first, most, steady time.Duration
}

// after returns the delay after a process that ran for up, and the number of crashes in a row, given the number before
// it. The delay doubles with each crash, up to the maximum. spread, in [0, 1), chooses a delay in the upper half of
// that, so that workers that crashed together do not start together.
func (d delays) after(crashes int, up time.Duration, spread float64) (time.Duration, int) {
	if up >= d.steady {
		crashes = 0
	}
	half := d.base(crashes) / 2
	return half + min(half, time.Duration(spread*float64(half))), crashes + 1
}

func (d delays) base(crashes int) time.Duration {
	base := min(d.first, d.most)
	for range crashes {
		if base > d.most/2 {
			return d.most
		}
		base *= 2
	}
	return base
}

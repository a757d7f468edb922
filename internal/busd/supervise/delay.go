package supervise

import "time"

// delays is how long to wait before a restart.
type delays struct {
	first, most, steady time.Duration
}

// after returns the delay after a process that was up for so long, and how many crashes in a row that makes; before it
// there were crashes. The delay doubles with each crash up to the most; of it, spread in [0, 1) decides on the upper
// half, so that workers that fell together do not rise together.
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

package modulekit

import (
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestLaterSignalEndsTheModuleAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		then  os.Signal
		after time.Duration
		ends  bool
	}{
		"a second SIGTERM in the same breath": {syscall.SIGTERM, sameBreath - 1, false},
		"a second SIGTERM later":              {syscall.SIGTERM, sameBreath, true},
		"a second SIGINT":                     {os.Interrupt, 0, true},
		"it takes too long":                   {nil, lastTime, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				signals, drained, ended := make(chan os.Signal), atomic.Bool{}, atomic.Bool{}
				go obey(signals, func() { drained.Store(true) }, func() { ended.Store(true) })
				signals <- syscall.SIGTERM
				synctest.Wait()
				if !drained.Load() || ended.Load() {
					t.Errorf("after the first: drained %v, ended %v", drained.Load(), ended.Load())
				}
				<-time.After(tt.after)
				if tt.then != nil {
					signals <- tt.then
				}
				synctest.Wait()
				if ended.Load() != tt.ends {
					t.Errorf("after the second: ended %v", ended.Load())
				}
				<-time.After(lastTime) // It ends for sure.
			})
		})
	}
}

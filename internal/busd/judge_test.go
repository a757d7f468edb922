package busd_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd"
)

// Each module that busd runs is asked, also where another one fails, and nobody else hears of it.
func TestJudgeSaysWhatBecameOfEachModule(t *testing.T) {
	t.Parallel()
	c := parse(t, stateDir(t), "modules:\n"+entry("well", "runs")+"  - {module: ends, run: ['false']}\n  - {module: elsewhere}\n")
	got, err := busd.Judge(t.Context(), c, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil || len(got) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got[0] != (busd.Verdict{}) {
		t.Errorf("the module that joins: %+v", got[0])
	}
	wrong := "is failed: its process ended, and is started again: ends: worker 0: exit status 1"
	if got[1].Skipped || !strings.Contains(got[1].Wrong, wrong) {
		t.Errorf("the module that ends: %+v", got[1])
	}
	if got[2] != (busd.Verdict{Skipped: true}) {
		t.Errorf("the module that busd does not run: %+v", got[2])
	}
}

func TestJudgeWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got, err := busd.Judge(ctx, parse(t, stateDir(t), "modules:\n"+entry("late", "hangs")), zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil || got[0].Wrong != "has not joined in time" {
		t.Errorf("got %+v, %v", got, err)
	}
}

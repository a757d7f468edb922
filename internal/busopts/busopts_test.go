package busopts_test

import (
	"testing"

	"github.com/modulebus/modulebus/internal/busopts"
)

func TestOptionsTravelInTheContext(t *testing.T) {
	t.Parallel()
	if got := busopts.From(t.Context()); got != (busopts.Client{}) {
		t.Errorf("a context of anybody's carries %+v", got)
	}
	if got := busopts.From(busopts.With(t.Context(), busopts.Client{NoWait: true})); !got.NoWait {
		t.Error("they are lost")
	}
}

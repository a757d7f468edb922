package modulekit

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// TestKitRepeatsNoSecretOfWhatItWasAsked has callbacks that fail with an address of a person.
func TestKitRepeatsNoSecretOfWhatItWasAsked(t *testing.T) {
	t.Parallel()
	type request = callbacksv1.CheckRegistrationForSpamRequest
	type reply = callbacksv1.CheckRegistrationForSpamResponse
	const secret = "alice@example.org"
	req := &request{EmailThreepid: &callbacksv1.Threepid{Medium: "email", Address: secret}}
	for name, c := range map[string]struct {
		answer func(address string) error
		kind   rosterv1.FailureKind
		log    string
	}{
		"an error": {func(address string) error { return errors.New("nobody is " + address) }, rosterv1.FailureKind_ERROR, "nobody is [redacted]"},
		"a panic":  {func(address string) error { panic("nobody is " + address) }, rosterv1.FailureKind_PANIC, "nobody is [redacted]"},
	} {
		said := &waittest.Log{}
		log := zerolog.New(said)
		h := bind(subjects.CheckRegistrationForSpam, func(_ context.Context, req *request) (*reply, error) {
			return nil, c.answer(req.GetEmailThreepid().GetAddress())
		})
		_, failure := h.answer(t.Context(), req, &log)
		if failure == nil || failure.Kind != c.kind || strings.Contains(failure.Text, secret) {
			t.Errorf("%s: %+v", name, failure)
		}
		if said.Count(secret) > 0 || said.Count(c.log) != 1 {
			t.Errorf("%s: the log says %s", name, said)
		}
	}
}

package subjects_test

import (
	"testing"

	"github.com/modulebus/modulebus/subjects"
)

func TestAnswersGoToInboxesAlone(t *testing.T) {
	t.Parallel()
	const about = "modulebus.example%2Ecom.module.gate."
	for _, c := range []struct {
		subject, reply string
		want           bool
	}{
		{about + "api.x", about + "inbox.w.1", true},
		{about + "api.x", "_INBOX.a.b", true},
		{about + "api.x", "modulebus.example%2Ecom.module.other.leave", false},
		{about + "api.x", "modulebus.example%2Ecom.module.other.inbox.w.1", false},
		{about + "api.x", about + "join", false},
		{about + "api.x", "modulebus.example%2Ecom.roster.changed", false},
		{about + "api.x", "$JS.API.INFO", false},
		{"modulebus.example%2Ecom.ask.a.b", "_INBOX_BUSD.a.b", true},
		{"modulebus.example%2Ecom.ask.a.b", about + "inbox.w.1", false},
		{"short", "modulebus.x", false},
	} {
		if got := subjects.MayReply(c.subject, c.reply); got != c.want {
			t.Errorf("%s answered at %s: %v, want %v", c.subject, c.reply, got, c.want)
		}
	}
}

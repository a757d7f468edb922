package modulekit_test

import (
	"testing"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
)

func TestIDsAreOfThisServerByTheirFirstColon(t *testing.T) {
	t.Parallel()
	var api *modulekit.ModuleAPI
	modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, a *modulekit.ModuleAPI) error { api = a; return nil }}, "")
	own := api.ServerName()
	for id, want := range map[string]bool{
		"@alice:" + own: true, "!room:" + own: true, "@alice:" + own + ":8448": false, "@alice:other.org": false, "@" + own: false, "": false,
		"@alice:other.org:" + own: false,
	} {
		if api.IsMine(id) != want {
			t.Errorf("%q: got %t", id, !want)
		}
	}
	for name, want := range map[string]string{"alice": "@alice:" + own, "@bob:other.org": "@bob:other.org"} {
		if got := api.GetQualifiedUserID(name); got != want {
			t.Errorf("%q: got %q", name, got)
		}
	}
}

package docs_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
)

// TestPolicyServerPage has busd read the page's configuration, and print the page's event.
func TestPolicyServerPage(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/policy-server.md")
	c, err := config.Parse(filepath.Join(t.TempDir(), "busd.yaml"), []byte(indented(t, page, "yaml")))
	if err != nil || c.PolicyServer == nil || len(c.Warnings) > 0 {
		t.Fatalf("got %+v, %v", c, err)
	}
	key, err := policyserver.OpenKey(filepath.Join(t.TempDir(), "policy.key"))
	if err != nil {
		t.Fatal(err)
	}
	printed, err := policyserver.StateEvent(c.ServerName, key)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if json.Unmarshal(printed, &got) != nil || json.Unmarshal([]byte(strings.ReplaceAll(indented(t, page, "json"), "…", key.Public())), &want) != nil {
		t.Fatalf("%s is no JSON", printed)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-), busd policy (+):\n%s", diff)
	}
}

// indented is the page's first block of the language in a list.
func indented(t *testing.T, page, language string) string {
	t.Helper()
	const margin = "   "
	_, rest, _ := strings.Cut(page, margin+"```"+language+"\n")
	block, _, found := strings.Cut(rest, margin+"```")
	if !found {
		t.Fatalf("the page has no %s", language)
	}
	return strings.ReplaceAll("\n"+block, "\n"+margin, "\n")
}

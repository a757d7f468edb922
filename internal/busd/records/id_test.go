package records_test

import (
	"fmt"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/records"
)

// FuzzIDs: what is no ID names no record, and what is one says when it was made.
func FuzzIDs(f *testing.F) {
	f.Add("d-0mx065z63bc23xq1")
	f.Add("d-")
	r := records.New()
	f.Fuzz(func(t *testing.T, id string) {
		if _, found, err := r.Find(t.Context(), id); found || err != nil {
			t.Error(fmt.Sprint(found, err))
		}
	})
}

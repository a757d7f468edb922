package matrix_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/modulebus/modulebus/matrix"
)

func TestErrorComesBackFromItsBody(t *testing.T) {
	t.Parallel()
	for _, want := range []matrix.Error{
		{http.StatusTooManyRequests, matrix.LimitExceeded, "slow down"},
		{http.StatusForbidden, "ORG_EXAMPLE_NO", "«no»\n\x00"},
	} {
		if got := matrix.ParseError(want.Status, want.Body()); *got != want {
			t.Errorf("%+v came back as %+v", want, *got)
		}
	}
}

func TestErrorWithoutStatusAndCodeIsUnknown(t *testing.T) {
	t.Parallel()
	e := &matrix.Error{Text: "broken"}
	if got := string(e.Body()); got != `{"errcode":"M_UNKNOWN","error":"broken"}` {
		t.Error(got)
	}
	if got := e.Complete(); got.Status != http.StatusInternalServerError || got.Errcode != matrix.Unknown {
		t.Errorf("complete it is %+v", got)
	}
}

func TestParseErrorOfWhatIsNoMatrixErrorIsUnknown(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "<html>", "[]", `{"errcode":3}`, `"M_FORBIDDEN"`, "{}"} {
		if got := matrix.ParseError(http.StatusBadGateway, []byte(body)); *got != (matrix.Error{http.StatusBadGateway, matrix.Unknown, ""}) {
			t.Errorf("%q is read as %+v", body, *got)
		}
	}
}

func ExampleError() {
	err := fmt.Errorf("calling: %w", &matrix.Error{Status: http.StatusNotFound, Errcode: "M_NOT_FOUND", Text: "no such room"})
	if e, ok := errors.AsType[*matrix.Error](err); ok && e.Status == http.StatusNotFound {
		fmt.Println("there is no such room:", e.Errcode)
	}
	// Output: there is no such room: M_NOT_FOUND
}

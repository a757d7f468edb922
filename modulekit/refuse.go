package modulekit

import (
	"strings"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Refuse returns a refusal. The client sees the Matrix error code, M_FORBIDDEN if it is empty, and the text, the homeserver's
// own words if it is empty. What of the text is not UTF-8, such as half a character of a name that was cut, is U+FFFD: no message could carry it,
// and the module would have failed instead.
func Refuse(errcode, text string) *callbacksv1.Refusal {
	return &callbacksv1.Refusal{Errcode: errcode, Error: strings.ToValidUTF8(text, "\uFFFD")}
}

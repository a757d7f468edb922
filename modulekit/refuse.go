package modulekit

import (
	"strings"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Refuse returns a refusal. The client sees the Matrix error code and the text. An empty code means M_FORBIDDEN, and an
// empty text the homeserver's own words. Bytes that are not UTF-8, such as half a character of a name that was cut,
// become U+FFFD: a message cannot carry them, so the module would otherwise fail instead of refusing.
func Refuse(errcode, text string) *callbacksv1.Refusal {
	return &callbacksv1.Refusal{Errcode: errcode, Error: strings.ToValidUTF8(text, "\uFFFD")}
}

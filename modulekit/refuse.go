package modulekit

import "github.com/modulebus/modulebus/schemas/callbacks/v1"

// Refuse returns a refusal. The client sees the Matrix error code, M_FORBIDDEN if it is empty, and the text, the homeserver's
// own words if it is empty.
func Refuse(errcode, text string) *callbacksv1.Refusal {
	return &callbacksv1.Refusal{Errcode: errcode, Error: text}
}

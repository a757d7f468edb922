package modulekit

import "github.com/modulebus/modulebus/schemas/callbacks/v1"

// Refuse returns a refusal with what the client sees: a Matrix error code, M_FORBIDDEN if empty, and a text.
func Refuse(errcode, text string) *callbacksv1.Refusal {
	return &callbacksv1.Refusal{Errcode: errcode, Error: text}
}

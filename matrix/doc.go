// Package matrix has the error that the APIs of Matrix answer with, for both sides of the bus: a homeserver's Module API
// returns it, and modules receive it.
//
// Packages bus and modulekit name it MatrixError. Source: the specification's
// https://spec.matrix.org/v1.16/client-server-api/#standard-error-response.
package matrix

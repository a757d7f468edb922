// Package httpdoor is busd's HTTP server. It serves the routes of the doors that are reached over HTTP, checks the
// token that each route needs, and passes all other paths to modules.
package httpdoor

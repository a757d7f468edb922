// Package httpdoor is busd's HTTP server. It answers the routes of the doors that are reached over HTTP, each request with the
// token that its route needs, and hands all other paths to modules.
package httpdoor

package schemas

import "embed"

// Files holds the .proto files, by their paths from this folder.
//
//go:embed callbacks/v1/*.proto moduleapi/v1/*.proto roster/v1/*.proto
var Files embed.FS

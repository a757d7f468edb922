package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "github.com/modulebus/modulebus"

// compile parses every .proto below dir, in order of their paths.
func compile(ctx context.Context, dir string) ([]protoreflect.FileDescriptor, error) {
	paths, err := protos(dir)
	if err != nil {
		return nil, err
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	linked, err := compiler.Compile(ctx, paths...)
	if err != nil {
		return nil, err
	}
	files := make([]protoreflect.FileDescriptor, len(linked))
	for i, f := range linked {
		files[i] = f
	}
	return files, nil
}

func protos(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".proto") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		paths = append(paths, filepath.ToSlash(name))
		return err
	})
	return paths, err
}

// messages returns what protoc-gen-go makes of the files.
func messages(files []protoreflect.FileDescriptor) (map[string][]byte, error) {
	req := &pluginpb.CodeGeneratorRequest{Parameter: new("module=" + module)}
	seen := map[string]bool{}
	for _, f := range files {
		req.FileToGenerate = append(req.FileToGenerate, f.Path())
		req.ProtoFile = appendFile(req.ProtoFile, f, seen)
	}
	// The plugin reads its request from bytes, where options are no longer dynamic messages.
	raw, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	req = &pluginpb.CodeGeneratorRequest{}
	if err := proto.Unmarshal(raw, req); err != nil {
		return nil, err
	}
	return generate(req)
}

func generate(req *pluginpb.CodeGeneratorRequest) (map[string][]byte, error) {
	plugin, err := protogen.Options{}.New(req)
	if err != nil {
		return nil, err
	}
	plugin.SupportedFeatures = internal_gengo.SupportedFeatures
	for _, f := range plugin.Files {
		if f.Generate {
			internal_gengo.GenerateFile(plugin, f)
		}
	}
	outputs := map[string][]byte{}
	for _, f := range plugin.Response().GetFile() {
		outputs[f.GetName()] = []byte(f.GetContent())
	}
	return outputs, nil
}

// appendFile appends f behind all that it imports.
func appendFile(to []*descriptorpb.FileDescriptorProto, f protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return to
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		to = appendFile(to, f.Imports().Get(i).FileDescriptor, seen)
	}
	return append(to, protodesc.ToFileDescriptorProto(f))
}

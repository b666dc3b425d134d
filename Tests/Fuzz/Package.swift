// swift-tools-version: 6.1
import PackageDescription

/// libFuzzer targets for everything that is read from files: a package of its own, whose folders of the program's rooms
/// are links, so that they are built with coverage counters and the address sanitizer. See `Tests/README.md`; `run`
/// here builds, makes seeds and runs.
let package = Package(
    name: "Fuzz",
    targets: [
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CYaml", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "COneDNN", providers: [.apt(["libdnnl-dev"])]),
        .systemLibrary(name: "CFuzzer"),
        .target(
            name: "CKernels", cSettings: [.unsafeFlags(["-fsanitize=fuzzer-no-link,address"])],
            linkerSettings: [.linkedLibrary("gomp"), .linkedLibrary("m")]),
        .target(
            name: "CImages", cSettings: [.unsafeFlags(["-fsanitize=fuzzer-no-link,address"])],
            linkerSettings: [.linkedLibrary("jpeg"), .linkedLibrary("png"), .linkedLibrary("webp")]),
        room("TensorCore"),
        room("Threads", ["CKernels"]),
        room("CheckpointIO", ["Threads", "TensorCore", "CKernels", "CZlib", "CZstd", "CYaml"]),
        room("Images", ["CheckpointIO", "TensorCore", "CImages"]),
        room("Compute", ["Threads", "TensorCore", "CKernels", "COneDNN"]),
        room("Tokenization", ["CheckpointIO", "TensorCore"]),
        room("Models", ["Compute", "CheckpointIO", "TensorCore"]),
        room("Data", ["Tokenization", "Images", "CheckpointIO", "TensorCore"]),
        room("Adapters", ["Models", "Compute", "CheckpointIO", "TensorCore", "CKernels"]),
        room(
            "Transforms",
            ["Adapters", "Models", "Tokenization", "Compute", "CheckpointIO", "Threads", "TensorCore", "CKernels"],
            resources: [.embedInCode("Conversion/PyTorch/tspeft_torch.py")]),
        room("Training", ["Adapters", "Data", "Models", "Compute", "CheckpointIO", "TensorCore"]),
        room("FuzzSupport", ["CheckpointIO", "TensorCore", "CFuzzer"]),
        room("FuzzAdapter", ["Adapters", "Models", "CheckpointIO", "TensorCore"]),
        fuzzer("fuzz-safetensors"),
        fuzzer("fuzz-gguf", ["Models", "Tokenization"]),
        fuzzer("fuzz-index"),
        fuzzer("fuzz-adapter", ["Adapters"]),
        fuzzer("fuzz-names", ["Transforms", "Adapters", "Models"]),
        fuzzer("fuzz-tokenizer", ["Tokenization"]),
        fuzzer("fuzz-records", ["Data", "Tokenization"]),
        fuzzer("fuzz-templates", ["Tokenization"]),
        fuzzer("fuzz-zstd"),
        fuzzer("fuzz-images", ["Images"]),
        fuzzer("fuzz-state", ["Training", "Adapters", "Data", "Models", "Compute", "FuzzAdapter"]),
        fuzzer("fuzz-record", ["Transforms", "Adapters", "FuzzAdapter"]),
        fuzzer("fuzz-decoders", ["Tokenization"]),
        fuzzer("fuzz-selection", ["Transforms", "Adapters", "Models", "FuzzAdapter"]),
    ],
    swiftLanguageModes: [.v6]
)

/// A library with coverage counters and the address sanitizer.
func room(
    _ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []
) -> Target {
    .target(
        name: name, dependencies: dependencies, resources: resources,
        swiftSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-parse-as-library"])])
}

/// A program that tries inputs.
func fuzzer(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .executableTarget(
        name: name, dependencies: ["FuzzSupport", "CheckpointIO", "TensorCore"] + dependencies,
        swiftSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-parse-as-library"])],
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])])
}

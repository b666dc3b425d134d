// swift-tools-version: 6.1
import PackageDescription

/// The rooms that call oneDNN, and their tests: a package of its own, whose folders are links, so that they are built
/// against another oneDNN in a fraction of the time of the whole. See `.ci/onednn3`.
let package = Package(
    name: "OneDNN",
    targets: [
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CYaml", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "COneDNN", providers: [.apt(["libdnnl-dev"])]),
        .target(name: "CKernels", linkerSettings: [.linkedLibrary("gomp"), .linkedLibrary("m")]),
        .target(name: "TensorCore"),
        .target(name: "Threads", dependencies: ["CKernels"]),
        .target(name: "CheckpointIO", dependencies: ["Threads", "TensorCore", "CKernels", "CZlib", "CZstd", "CYaml"]),
        .target(name: "Compute", dependencies: ["Threads", "TensorCore", "CKernels", "COneDNN"]),
        .target(name: "Models", dependencies: ["Compute", "CheckpointIO", "Threads", "TensorCore"]),
        .target(name: "TestSupport", dependencies: ["CheckpointIO", "TensorCore"], path: "Tests/TestSupport"),
        .testTarget(name: "ComputeTests", dependencies: ["Compute", "CKernels", "TensorCore", "TestSupport"]),
        .testTarget(
            name: "ModelsTests", dependencies: ["Models", "Compute", "CheckpointIO", "TensorCore", "TestSupport"]),
    ],
    swiftLanguageModes: [.v6]
)

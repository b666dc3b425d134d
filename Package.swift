// swift-tools-version: 6.1
import PackageDescription

/// Every room of the house is one target; arrows point downwards only (see the list in docs/house.md).
let package = Package(
    name: "tspeft",
    products: [
        .executable(name: "tspeft", targets: ["tspeft"]),
        // What the commands do, for other programs.
        .library(name: "TSPEFT", targets: ["TSPEFT"]),
        // For Tests/Benchmarks, which times single kernels too.
        .library(name: "CKernels", targets: ["CKernels"]),
    ],
    dependencies: [
        // Help, completion and manual pages come from its description of the commands, whose form changes with its minor
        // versions.
        .package(url: "https://github.com/apple/swift-argument-parser", .upToNextMinor(from: "1.8.2"))
    ],
    targets: [
        // System libraries, from Debian's packages. Those whose pkg-config names the folder of all libraries are found
        // without it: that folder would be searched before the one of a oneDNN that lies elsewhere.
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CYaml", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "COneDNN", providers: [.apt(["libdnnl-dev"])]),

        .target(name: "CKernels", linkerSettings: [.linkedLibrary("gomp"), .linkedLibrary("m")]),
        // Decoders of pictures behind one form. They are C, since errors of libjpeg and libpng leave them by jumps.
        .target(
            name: "CImages",
            linkerSettings: [.linkedLibrary("jpeg"), .linkedLibrary("png"), .linkedLibrary("webp")]),
        .target(name: "TensorCore"),
        .target(name: "Threads", dependencies: ["CKernels"]),
        .target(name: "CheckpointIO", dependencies: ["Threads", "TensorCore", "CKernels", "CZlib", "CZstd", "CYaml"]),
        .target(name: "Images", dependencies: ["CheckpointIO", "TensorCore", "CImages"]),
        .target(name: "Compute", dependencies: ["Threads", "TensorCore", "CKernels", "COneDNN"]),
        .target(name: "Tokenization", dependencies: ["CheckpointIO", "TensorCore"]),
        .target(name: "Models", dependencies: ["Compute", "CheckpointIO", "Threads", "TensorCore"]),
        .target(name: "Data", dependencies: ["Tokenization", "Images", "CheckpointIO", "TensorCore"]),
        .target(
            name: "Adapters",
            dependencies: ["Models", "Compute", "CheckpointIO", "Threads", "TensorCore", "CKernels"]),
        .target(
            name: "Training", dependencies: ["Adapters", "Data", "Models", "Compute", "CheckpointIO", "TensorCore"]),
        .target(
            name: "Evaluation", dependencies: ["Adapters", "Data", "Models", "Tokenization", "Compute", "TensorCore"]),
        .target(
            name: "Transforms",
            dependencies: [
                "Adapters", "Models", "Tokenization", "Compute", "CheckpointIO", "Threads", "TensorCore", "CKernels",
            ],
            // Written out by exports to PyTorch.
            resources: [.embedInCode("Conversion/PyTorch/tspeft_torch.py")]),
        // Its folder has another name, since one that differs from tspeft's in case only would break checkouts elsewhere.
        .target(
            name: "TSPEFT",
            dependencies: [
                "Training", "Evaluation", "Transforms", "Adapters", "Data", "Models", "Tokenization", "Images",
                "Compute", "CheckpointIO", "Threads", "TensorCore",
            ],
            path: "Sources/Workflows"),
        .executableTarget(
            name: "tspeft",
            dependencies: [
                "TSPEFT", "Transforms", "Training", "Evaluation", "Data", "Adapters", "Models", "Compute",
                "CheckpointIO", "Threads", "TensorCore", "CKernels",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        .target(name: "TestSupport", dependencies: ["CheckpointIO", "TensorCore"], path: "Tests/TestSupport"),
        .target(
            name: "ModelTestSupport",
            dependencies: ["Adapters", "Models", "Compute", "CheckpointIO", "TensorCore", "TestSupport"],
            path: "Tests/ModelTestSupport"),
        .testTarget(name: "TensorCoreTests", dependencies: ["TensorCore", "TestSupport"]),
        .testTarget(name: "ThreadsTests", dependencies: ["Threads"]),
        .testTarget(name: "CKernelsTests", dependencies: ["CKernels", "TestSupport"]),
        .testTarget(
            name: "CheckpointIOTests",
            dependencies: [
                "CheckpointIO", "CKernels", "TensorCore", "TestSupport",
            ]),
        .testTarget(name: "ImagesTests", dependencies: ["Images", "CheckpointIO", "TensorCore", "TestSupport"]),
        .testTarget(name: "ComputeTests", dependencies: ["Compute", "CKernels", "TensorCore", "TestSupport"]),
        .testTarget(
            name: "TokenizationTests", dependencies: ["Tokenization", "CheckpointIO", "TensorCore", "TestSupport"]),
        .testTarget(
            name: "ModelsTests",
            dependencies: [
                "Models", "Compute", "CheckpointIO", "TensorCore", "TestSupport",
            ]),
        .testTarget(
            name: "DataTests",
            dependencies: [
                "Data", "Images", "Tokenization", "CheckpointIO", "TensorCore", "TestSupport",
            ]),
        .testTarget(
            name: "AdaptersTests",
            dependencies: [
                "Adapters", "Models", "Compute", "CheckpointIO", "TensorCore", "TestSupport", "ModelTestSupport",
            ]),
        .testTarget(
            name: "TrainingTests",
            dependencies: [
                "Training", "Evaluation", "Adapters", "Data", "Models", "Compute", "CheckpointIO", "TensorCore",
                "TestSupport",
                "ModelTestSupport",
            ]),
        .testTarget(
            name: "EvaluationTests",
            dependencies: [
                "Evaluation", "Adapters", "Data", "Models", "Tokenization", "Compute", "CheckpointIO", "TensorCore",
                "TestSupport", "ModelTestSupport",
            ]),
        .testTarget(
            name: "TransformsTests",
            dependencies: [
                "Transforms", "Adapters", "Models", "Tokenization", "Compute", "CheckpointIO", "TensorCore", "CKernels",
                "TestSupport", "ModelTestSupport",
            ]),
        .testTarget(
            name: "WorkflowsTests",
            dependencies: [
                "TSPEFT", "Training", "Evaluation", "Transforms", "Adapters", "Data", "Models", "Tokenization",
                "Compute", "CheckpointIO", "TensorCore", "TestSupport",
            ]),
        // Sees what another program sees: public declarations of the library, and no member of another room's types.
        .testTarget(
            name: "LibraryTests", dependencies: ["TSPEFT"], packageAccess: false,
            swiftSettings: [.enableUpcomingFeature("MemberImportVisibility")]),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "tspeft", "TSPEFT", "Transforms", "Adapters", "Models", "Compute", "CheckpointIO", "TensorCore",
                "TestSupport", "ModelTestSupport",
            ]),
    ],
    swiftLanguageModes: [.v6]
)

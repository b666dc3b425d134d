// swift-tools-version: 6.1
import PackageDescription

/// Benchmarks: a package of its own, so that nothing here reaches a user's build. `Benchmarks` runs programs and reads
/// what they measured; `MergeRates` times merges against copying the files, of models that it makes where it is asked
/// to; `BlockRates` times the kernels of block formats; `LargeModel` trains a model of 8 billion weights and says what
/// memory and reading it took.
let package = Package(
    name: "Benchmarks",
    dependencies: [.package(name: "tspeft", path: "../..")],
    targets: [
        .target(name: "BenchmarkSupport"),
        .executableTarget(name: "Benchmarks", dependencies: ["BenchmarkSupport"]),
        .executableTarget(name: "MergeRates", dependencies: ["BenchmarkSupport"]),
        .executableTarget(name: "LargeModel", dependencies: ["BenchmarkSupport"]),
        .executableTarget(name: "BlockRates", dependencies: [.product(name: "CKernels", package: "tspeft")]),
    ],
    swiftLanguageModes: [.v6]
)

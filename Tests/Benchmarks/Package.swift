// swift-tools-version: 6.1
import PackageDescription

/// Benchmarks: a package of its own, so that nothing here reaches a user's build. It runs programs and reads what they measured.
let package = Package(
    name: "Benchmarks",
    targets: [.executableTarget(name: "Benchmarks")],
    swiftLanguageModes: [.v6]
)

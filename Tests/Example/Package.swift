// swift-tools-version: 6.1
import PackageDescription

/// A program that uses the library as any other package does: it imports TSPEFT and nothing else of tspeft's. See
/// `docs/library.md`.
let package = Package(
    name: "Example",
    dependencies: [.package(name: "tspeft", path: "../..")],
    targets: [
        .executableTarget(
            name: "Example", dependencies: [.product(name: "TSPEFT", package: "tspeft")],
            // So that members of types of other modules are errors, as they are to be in Swift's next mode.
            swiftSettings: [.enableUpcomingFeature("MemberImportVisibility")])
    ],
    swiftLanguageModes: [.v6]
)

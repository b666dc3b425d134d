import CheckpointIO
import Foundation
import Testing

/// One reference trajectory in float64: a folder that the script of the golden cases wrote.
package struct GoldenCase: Sendable, CustomTestStringConvertible {
    /// The folder's name.
    package let name: String
    /// The folder.
    package let path: String

    package var testDescription: String { name }

    /// The cases in `Fixtures/golden`, or in the folder that the environment variable TSPEFT_GOLDEN names.
    package static var all: [GoldenCase] {
        let root = ProcessInfo.processInfo.environment["TSPEFT_GOLDEN"] ?? fixture("golden")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        return names.sorted().map { GoldenCase(name: $0, path: root + "/" + $0) }
            .filter { pathExists($0.path + "/trajectory.json") }
    }

    /// Whether a case that cannot be run is a failure: the environment variable TSPEFT_GOLDEN_STRICT is 1.
    package static var isStrict: Bool { ProcessInfo.processInfo.environment["TSPEFT_GOLDEN_STRICT"] == "1" }

    /// The cases that must be there: the names in the environment variable TSPEFT_GOLDEN_NAMES, separated by spaces.
    package static var wantedNames: [String] {
        (ProcessInfo.processInfo.environment["TSPEFT_GOLDEN_NAMES"] ?? "").split(separator: " ").map(String.init)
    }

    /// Prints a line of its own, at once; tests run side by side.
    package static func say(_ line: String) {
        print(line.replacingOccurrences(of: "\n", with: " "))
        fflush(nil)
    }

    /// A JSON file of the case, in Python's dialect: `Infinity` and `NaN` stand for numbers there and become null.
    package func json(_ file: String) throws -> JSONValue {
        let text = try String(contentsOfFile: path + "/" + file, encoding: .utf8)
        return try JSONValue.parse(
            text.replacingOccurrences(of: ": Infinity", with: ": null").replacingOccurrences(
                of: ": NaN", with: ": null"))
    }

    /// A safetensors file of the case.
    package func tensors(_ file: String) throws -> SafetensorsFile {
        try SafetensorsFile.open(path + "/" + file)
    }
}

extension SafetensorsFile {
    /// The elements of an I32 tensor.
    package func integers(_ name: String) throws -> [Int] {
        try withBytes(of: try requiredRecord(name)) { bytes in
            stride(from: 0, to: bytes.count, by: 4).map { Int(bytes.loadUnaligned(fromByteOffset: $0, as: Int32.self)) }
        }
    }
}

import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Every integer that a file states goes through `integer(in:)`; this lists who asks, and for what range.
@Suite struct IntegerDoorTests {
    private static let sources = fixture("../Sources")

    /// The Swift files of all rooms, by their paths from `Sources` on.
    private func files() throws -> [(path: String, text: String)] {
        let found = FileManager.default.enumerator(atPath: Self.sources)?.allObjects as? [String] ?? []
        return try found.sorted().filter { $0.hasSuffix(".swift") }.map {
            ($0, String(decoding: try readFile(Self.sources + "/" + $0), as: UTF8.self))
        }
    }

    @Test func everyIntegerOfAFileGoesThroughTheDoor() throws {
        // Where numbers are taken apart, and the door itself.
        let behind = [
            "CheckpointIO/JSON/JSONValue.swift", "CheckpointIO/GGUF/GGUFMetadata.swift",
            "CheckpointIO/GGUF/GGUFArray.swift", "CheckpointIO/IntegerRange.swift",
        ]
        var doors: [String] = []
        for (path, text) in try files() {
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                let code = line.drop { $0 == " " }
                if code.hasPrefix("//") { continue }
                for raw in [".intValue", ".integerArray", "\\.intValue"] where code.contains(raw) {
                    #expect(behind.contains(path), "\(path):\(number + 1) reads an integer past the door: \(code)")
                }
                for call in code.components(separatedBy: ".integer").dropFirst() {
                    guard let start = call.range(of: "(in: "), call.hasPrefix("(in: ") || call.hasPrefix("s(in: ")
                    else { continue }
                    let range = call[start.upperBound...].prefix { $0 != ")" }
                    doors.append("\(path): \(range)")
                }
            }
        }
        let table = Dictionary(grouping: doors) { $0 }.map { "\($0.key) x\($0.value.count)" }.sorted()
        print(table.joined(separator: "\n"))
        for room in ["CheckpointIO", "Models", "Tokenization", "Adapters", "Training", "Transforms", "Workflows"] {
            #expect(table.contains { $0.hasPrefix(room) }, "\(room) reads integers")
        }
        // What is shown or compared alone may be anything.
        let anything = table.filter { $0.contains(".anything") }
        #expect(anything.count <= 10, "\(anything)")
    }

    @Test func doorHoldsItsRange() throws {
        func number(_ text: String) throws -> JSONValue { try JSONValue.parse(text) }
        #expect(try number("3").integer(in: 1...3) == 3 && number("4").integer(in: 1...3) == nil)
        #expect(try number("2e0").integer(in: .sizes) == 2 && number("2.5").integer(in: .anything) == nil)
        #expect(try number("-9223372036854775808").integer(in: .anything) == .min)
        #expect(try number("9223372036854775808").integer(in: .anything) == nil)
        #expect(try number("2147483647").integer(in: .tokenIDs) == nil)
        #expect(GGUFValue.uint32(.max).integer(in: .tokenIDs) == nil)
        #expect(GGUFValue.int64(.min).integer(in: .sizesOrNone) == nil)
        #expect(GGUFValue.uint64(.max).integer(in: .anything) == nil)
    }

    @Test func fileNamesCannotCountBeyondReason() throws {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/model-00001-of-9223372036854775807.safetensors", safetensorsFile(header: "{}"))
            try writeFile(folder + "/model-00000-of-9223372036854775807.safetensors", safetensorsFile(header: "{}"))
            // No file of several, by its name: whatever is said, it is said.
            _ = try? Checkpoint.open(folder)
        }
    }
}

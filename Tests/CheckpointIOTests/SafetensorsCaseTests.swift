import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing

/// Files that the safetensors package takes or refuses, and files that it wrote (Scripts/make_safetensors_cases.py).
@Suite struct SafetensorsCaseTests {
    /// Where tspeft keeps to the specification and the package does not: keys are unique, and the header starts at
    /// once.
    private static let stricter: Set<String> = ["space before the header", "name twice", "metadata key twice"]
    /// Types whose elements are no whole bytes, which tspeft cannot carry.
    private static let unsupported = ["F4", "F6_E2M3", "F6_E3M2"]

    @Test func verdictsAreThoseOfSafetensors() throws {
        let cases = try JSONValue.parse(readFile(fixture("safetensors/cases.json")))["cases"]?.arrayValue ?? []
        #expect(cases.count > 100)
        try withTemporaryFolder { folder in
            let path = folder + "/case.safetensors"
            for one in cases {
                let name = try #require(one["name"]?.stringValue)
                let isAccepted = one["accepted"] == .bool(true)
                try writeFile(path, Array(Data(base64Encoded: one["file"]?.stringValue ?? "")!))
                do {
                    _ = try SafetensorsFile.open(path)
                    #expect(isAccepted, "\(name): \(one["error"]?.stringValue ?? "")")
                } catch let error as CheckpointError {
                    let isKnown =
                        Self.stricter.contains(name)
                        || error.exitStatus == .unsupported && Self.unsupported.contains { name.hasSuffix($0) }
                    #expect(!isAccepted || isKnown, "\(name): \(error)")
                    #expect(error.description.hasPrefix(path))
                }
            }
        }
    }

    private func written(_ name: String) throws -> SafetensorsFile {
        try SafetensorsFile.open(fixture("safetensors/written/\(name).safetensors"))
    }

    @Test func filesThatSafetensorsWroteAreRead() throws {
        #expect(try written("nothing").tensors.isEmpty)
        let metadata = try written("metadata-only").metadata
        #expect(Dictionary(uniqueKeysWithValues: metadata) == ["format": "np", "é": "权重"])

        let empty = try written("empty")
        #expect(try empty.floats(of: empty.requiredRecord("scalar")) == [2.5])
        #expect(try empty.requiredRecord("scalar").shape == [])
        #expect(try empty.requiredRecord("empty").shape == [0, 4])
        #expect(try empty.requiredRecord("wide").shape == [3, 0, 2])
        #expect(try empty.floats(of: empty.requiredRecord("wide")) == [])

        let names = try written("names")
        let expected = [
            "", "a", "a.b", "Gewicht é", "权重", "😀", "quote\"\\", "new\nline", "\u{0}",
            String(repeating: "x", count: 300),
        ]
        #expect(names.tensors.count == expected.count)
        for (place, name) in expected.enumerated() { #expect(try names.integers(name) == [place]) }
    }

    @Test func everyTypeOfTorchIsCarried() throws {
        let file = try written("types")
        #expect(file.tensors.count == 18)
        for record in file.tensors {
            guard case .plain(let type) = record.encoding else { preconditionFailure("safetensors has no blocks") }
            #expect(record.byteCount == 3 * type.byteCount)
            if record.encoding.isReadable { #expect(try file.floats(of: record) == [0, 1, 2]) }
        }
        try withTemporaryFolder { folder in
            let entries = file.tensors.compactMap { record in
                DType(rawValue: "\(record.encoding)").map { SafetensorsEntry(name: record.name, dtype: $0, shape: [3]) }
            }
            let writer = try SafetensorsWriter(AtomicFileWriter(folder + "/copy.safetensors"), entries: entries)
            for entry in entries {
                try file.withBytes(of: file.requiredRecord(entry.name)) { try writer.append($0) }
            }
            try writer.finish()
            let copy = try SafetensorsFile.open(folder + "/copy.safetensors")
            for entry in entries {
                let bytes = try copy.withBytes(of: copy.requiredRecord(entry.name)) { Array($0) }
                #expect(try file.withBytes(of: file.requiredRecord(entry.name)) { Array($0) } == bytes)
            }
        }
    }

    /// snapshots/<revision>/<file> -> ../../blobs/<hash>, shards and index too.
    @Test func checkpointOfLinksIsReadAsHuggingFacesCacheMakesIt() throws {
        try withTemporaryFolder { folder in
            for place in ["/blobs", "/snapshots", "/snapshots/main"] { mkdir(folder + place, 0o755) }
            let source = fixture("formats/sharded")
            for (place, name) in try names(in: source).enumerated() {
                try writeFile(folder + "/blobs/\(place)", readFile(source + "/" + name))
                try TestSupport.link(folder + "/snapshots/main/" + name, to: "../../blobs/\(place)")
            }
            let (cached, plain) = (try Checkpoint.open(folder + "/snapshots/main"), try Checkpoint.open(source))
            #expect(cached.tensors == plain.tensors && !plain.tensors.isEmpty)
            // One file, asked for by the link's name, which says what it is.
            let shard = try #require(try names(in: source).first { $0.hasSuffix(".safetensors") })
            #expect(try Checkpoint.open(folder + "/snapshots/main/" + shard).tensors.count > 0)
        }
    }

    @Test func namesThatDifferInCompositionAloneAreTwo() throws {
        try withTemporaryFolder { folder in
            let entry = #""dtype":"U8","shape":[0],"data_offsets":[0,0]"#
            let header = "{\"\u{E9}\":{\(entry)},\"e\u{301}\":{\(entry)}}"
            try writeFile(folder + "/twins.safetensors", safetensorsFile(header: header))
            #expect(try SafetensorsFile.open(folder + "/twins.safetensors").tensors.count == 2)
        }
    }
}

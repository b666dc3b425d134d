import Adapters
import CheckpointIO
import TensorCore
import TestSupport
import Testing
import Tokenization
import Training
import Transforms

@testable import TSPEFT

/// Records whose members are damaged at random: read, or refused with words, and never a trap.
@Suite struct DamagedRecordTests {
    /// Values that take the place of others.
    private static let extremes: [JSONValue] =
        [
            "-1", "0", "2147483647", "2147483648", "4294967295", "9223372036854775807", "-9223372036854775808",
            "18446744073709551615", "1e308", "1e999", "-1e-320", "0.5",
        ].map { .number($0) } + [.null, .bool(true), .string(""), .string("\u{301}"), .array([]), .object([:])]

    /// `value` with one or more of its members replaced, taken out or put twice.
    private func damaged(_ value: JSONValue, _ stream: inout RandomStream) -> JSONValue {
        func pick(_ count: Int) -> Int { stream.nextIndex(below: count) }
        switch value {
        case .object(let object) where object.count > 0 && pick(8) > 0:
            var changed = object
            let key = object.keys[pick(object.count)]
            if pick(10) == 0 {
                changed[key] = nil
            } else {
                changed[key] = damaged(object[key] ?? .null, &stream)
            }
            return .object(changed)
        case .array(let elements) where !elements.isEmpty && pick(8) > 0:
            var changed = elements
            let place = pick(elements.count)
            switch pick(8) {
            case 0: changed.remove(at: place)
            case 1: changed.append(elements[place])
            default: changed[place] = damaged(elements[place], &stream)
            }
            return .array(changed)
        default: return Self.extremes[pick(Self.extremes.count)]
        }
    }

    /// Reads many damaged forms of a record; each error must say something.
    private func readDamaged(
        _ record: JSONValue, seed: UInt64, count: Int, _ read: (JSONValue) throws -> Void
    ) throws {
        var stream = RandomStream(seed: seed)
        for _ in 0..<count {
            var value = damaged(record, &stream)
            while stream.nextIndex(below: 3) == 0 { value = damaged(value, &stream) }
            do {
                try read(value)
            } catch let error as any ReportableError {
                #expect(!error.description.isEmpty)
            } catch {
                Issue.record("an error that no user can be told: \(error) of \(value.text())")
            }
        }
    }

    @Test func statesOfRunsAreReadOrRefused() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            #expect(try tiny.train(tiny.request("run"), stopAfter: 2).steps.count == 2)
            let checkpoint = folder + "/run/checkpoint-000002"
            let record = try JSONValue.parse(readFile(checkpoint + "/training_state.json"))
            let adapter = try AdapterDirectory.read(checkpoint)
            let file = try SafetensorsFile.open(checkpoint + "/training_state.safetensors")
            let moments = try file.tensors.map { AdapterTensor($0.name, $0.shape, try file.floats(of: $0)) }
            try readDamaged(record, seed: 1, count: 2000) { value in
                _ = try TrainingState(
                    record: value, tensors: adapter.tensors, momentTensors: moments, source: "state")
            }
        }
    }

    @Test func recordsOfAdaptersAreReadOrRefused() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            #expect(try tiny.train(tiny.request("run")).error == nil)
            let path = folder + "/run/tspeft.json"
            let record = try JSONValue.parse(readFile(path))
            try readDamaged(record, seed: 2, count: 200) { value in
                try writeFile(path, value.text())
                _ = try inspectFiles(folder + "/run")
                let adapter = try AdapterDirectory.read(folder + "/run")
                _ = adapter.statistics.map { adapter.configuration.meanSparsity($0.modules) }
            }
        }
    }

    @Test func selectionsAreReadOrRefused() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/kept.json"
            let record = try JSONValue.parse(
                #"{"modules": ["a.q_proj", "b.q_proj"], "source": "x", "keep": "2", "by": "sparsity", "considered": 4}"#
            )
            try readDamaged(record, seed: 3, count: 1000) { value in
                try writeFile(path, value.text())
                _ = try ModuleSelection.read(path)
            }
        }
    }

    @Test func replacementsThatMultiplyTheTextAreRefused() throws {
        try withTemporaryFolder { folder in
            let step = #"{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"}"#
            for (key, list) in [("decoder", "decoders"), ("normalizer", "normalizers")] {
                let steps = Array(repeating: step, count: 12).joined(separator: ", ")
                try writeFile(
                    folder + "/tokenizer.json",
                    #"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "#
                        + #""\#(key)": {"type": "Sequence", "\#(list)": [\#(steps)]}}"#)
                let error = try #require(throws: TokenizationError.self) {
                    _ = try Tokenizer.load(modelPath: folder)
                }
                #expect(error.description.contains("'\(key)' can make a text more than 1000 times"), "\(error)")
            }
        }
    }

    @Test func decodersOfTokenizersAreReadOrRefused() throws {
        try withTemporaryFolder { folder in
            var tokenizer = try #require(
                JSONValue.parse(
                    #"""
                    {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<0x41>": 3}, "merges": ["a b"]},
                     "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null}
                    """#
                ).objectValue)
            let decoder = try JSONValue.parse(
                #"""
                {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "a"}, "content": " "},
                 {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
                """#)
            try readDamaged(decoder, seed: 4, count: 1000) { value in
                tokenizer["decoder"] = value
                try writeFile(folder + "/tokenizer.json", JSONValue.object(tokenizer).text())
                let read = try Tokenizer.load(modelPath: folder)
                _ = read.decode([0, 1, 2, 3, -1, 4, .max], skippingSpecialTokens: false)
                for id in [0, 3, -1] as [Int32] { _ = read.bytes(ofToken: id) }
            }
        }
    }
}

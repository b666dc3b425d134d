import Adapters
import CheckpointIO
import TensorCore
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// What a run's own files may say, and what a dry run tells of them.
@Suite struct RunStateTests {
    /// Changes one number of a checkpoint's record, wherever its key stands first.
    private func change(_ path: String, _ key: String, to value: String) throws {
        let text = String(decoding: try readFile(path), as: UTF8.self)
        let start = try #require(text.utf8Range(of: "\"\(key)\": "))
        let end = text[start.upperBound...].firstIndex { ",\n}".contains($0) }!
        try writeFile(path, text.replacingCharacters(start.upperBound..<end, with: value))
    }

    @Test(arguments: [
        ("step", "1000"), ("step", "-1"), ("step", "9223372036854775807"), ("epoch", "-1"),
        ("epoch", "9223372036854775807"), ("epoch", "1000"), ("next_example", "-1"),
        ("next_example", "9223372036854775807"), ("steps", "-1"), ("steps", "9223372036854775807"),
        ("silent_steps", "9223372036854775807"), ("silent_steps", "-1"), ("tau", "1e999"), ("tau", "null"),
    ])
    func stateThatCannotBeIsRefused(_ key: String, _ value: String) throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            #expect(try tiny.train(tiny.request("run"), stopAfter: 2).steps.count == 2)
            try change("\(folder)/run/checkpoint-000002/training_state.json", key, to: value)
            let before = try names(in: folder + "/run")
            let outcome = try tiny.train(tiny.request("run") { $0.resumes = true })
            let error = try #require(outcome.error as? any ReportableError)
            #expect(error.exitStatus.rawValue == 65 && outcome.steps.isEmpty, "\(error)")
            #expect(try names(in: folder + "/run") == before)
        }
    }

    @Test func resumedFinishedRunKeepsItsTimes() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let first = try trainAdapter(tiny.request("run"))
            #expect(first.trainingSeconds > 0 && first.tokensPerSecond > 0)
            let again = try trainAdapter(tiny.request("run") { $0.resumes = true })
            #expect(again.trainingSeconds == first.trainingSeconds && again.tokensPerSecond == first.tokensPerSecond)
            #expect(again.finalLoss == first.finalLoss)
            let saved = try AdapterDirectory.read(folder + "/run").training
            #expect(saved?["training_seconds"]?.doubleValue == first.trainingSeconds)
        }
    }

    @Test func filesOfARunAreToldByTheirNamesAndSizes() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let cases: [(String, Int?, Int)] = [("none", nil, 3), ("some", 2, 1), ("all", 1, Int(Int32.max))]
            for (name, interval, kept) in cases {
                let request = tiny.request(name) {
                    $0.training.checkpointInterval = interval
                    $0.keptCheckpoints = kept
                }
                let told = try dryRun(of: request)
                _ = try trainAdapter(request)
                var found: [String: Int] = [:]
                for path in [request.outputPath] + (try RunDirectory.checkpoints(in: request.outputPath)) {
                    for file in try names(in: path) where pathKind("\(path)/\(file)") == .regularFile {
                        found["\(path)/\(file)"] = fileSize("\(path)/\(file)")
                    }
                }
                let toldPaths = Set(told.writes.map(\.path))
                #expect(toldPaths.isSuperset(of: found.keys), "\(Set(found.keys).subtracting(toldPaths))")
                // What was told and is gone is the checkpoint that made room for the last one.
                let gone = toldPaths.subtracting(found.keys)
                #expect(gone.allSatisfy { $0.contains("/checkpoint-000004/") && kept == 1 }, "\(gone)")
                for file in told.writes where !file.isEstimate && found[file.path] != nil {
                    #expect(found[file.path] == file.byteCount, "\(file.path)")
                }
            }
        }
    }

    @Test func tokenBeyondTheEmbeddingIsRefusedBeforeAnyWork() throws {
        try withTemporaryFolder { folder in
            let base = folder + "/base"
            let made = try AtomicDirectory(base)
            for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
                var bytes = try readFile(TinyTraining.base + "/" + name)
                if name == "tokenizer.json" {
                    var json = try #require(JSONValue.parse(bytes).objectValue)
                    let added = try #require(json["added_tokens"]?.arrayValue)
                    json["added_tokens"] = .array(
                        added + [
                            .object([
                                "id": .integer(2048), "content": .string("<|beyond|>"), "special": .bool(true),
                                "single_word": .bool(false), "lstrip": .bool(false), "rstrip": .bool(false),
                                "normalized": .bool(false),
                            ])
                        ])
                    bytes = Array(JSONValue.object(json).text().utf8)
                }
                try made.write(name, bytes)
            }
            try made.commit()
            let tiny = try TinyTraining(folder)
            let data = folder + "/data.json"
            try writeFile(data, "{\"text\": \"a plain record\"}\n{\"text\": \"one with <|beyond|> in it\"}\n")
            func expectRefusal(_ body: () throws -> Void) throws {
                let thrown = try #require(throws: (any Error).self) { try body() }
                let error = try #require(thrown as? any ReportableError)
                #expect(error.exitStatus.rawValue == 65, "\(error)")
                #expect("\(error)".contains("'<|beyond|>' with id 2048, but the model's embedding has 2048 rows"))
            }
            let notes = NoteList()
            let request = tiny.request("run") {
                $0.basePath = base
                $0.dataPath = data
                $0.compute.note = { notes.add($0) }
            }
            try expectRefusal { _ = try trainAdapter(request) }
            #expect(notes.all.first?.contains("the tokenizer has ids up to 2048") == true, "\(notes.all)")
            try expectRefusal { _ = try dryRun(of: request) }
            #expect(pathKind(request.outputPath) == .nothing)
            try expectRefusal { _ = try evaluateModel(EvaluateRequest(basePath: base, dataPath: data)) }
            try expectRefusal {
                _ = try generateText(GenerateRequest(basePath: base, prompt: "one <|beyond|>")) { _ in true }
            }
        }
    }
}

/// Notes that a session tells.
private final class NoteList: @unchecked Sendable {
    // Told and read by one thread, that of the test.
    private(set) var all: [String] = []
    func add(_ note: String) { all.append(note) }
}

extension String {
    fileprivate func utf8Range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }

    fileprivate func replacingCharacters(_ range: Range<Index>, with text: String) -> String {
        self[..<range.lowerBound] + text + self[range.upperBound...]
    }
}

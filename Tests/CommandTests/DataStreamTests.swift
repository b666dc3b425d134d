import TestSupport
import Testing

/// Records from standard input, pipes and compressed files, and several files at once.
@Suite(.serialized) struct DataStreamTests {
    @Test func recordsComeFromWhereverTheyAre() throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let lines = String(decoding: try readFile(fixture("sst2/dev.json")), as: UTF8.self).split(separator: "\n")
            try writeFile(folder + "/a.jsonl", lines[..<3].joined(separator: "\n") + "\n")
            try writeFile(folder + "/b.jsonl", lines[3..<5].joined(separator: "\n") + "\n")
            let eval = "\"$T\" eval \(TinyTour.base) --dtype f32 --threads 1 --json"
            func loss(_ line: String) throws -> String {
                let outcome = try program.shell(line)
                #expect(outcome.status == 0, "\(line): \(outcome.errors)")
                return try #require(outcome.output.split(separator: "\n").first { $0.contains("\"loss\"") }).description
            }
            let whole = try loss("cat a.jsonl b.jsonl > all.jsonl; \(eval) --data all.jsonl")
            for line in [
                "\(eval) --data a.jsonl --data b.jsonl", "cat all.jsonl | \(eval) --data -",
                "\(eval) --data - < all.jsonl", "cat b.jsonl | \(eval) --data a.jsonl --data -",
                "gzip -c a.jsonl > a.gz; gzip -c b.jsonl >> a.gz; \(eval) --data a.gz",
                "gzip -c all.jsonl | \(eval) --data -",
                "mkfifo p; cat all.jsonl > p & \(eval) --data p",
            ] {
                #expect(try loss(line) == whole, "\(line)")
            }
            let twice = try program.shell("\(eval) --data - --data - < all.jsonl")
            #expect(twice.status == 65 && twice.errors.contains("standard input can be read once only"))
            let alone = try program.shell("mkfifo q; \(eval) --data q")
            #expect(alone.status == 65 && alone.errors.contains("q: is a pipe that nothing writes to"))
            let bad = try program.shell("echo x | \(eval) --data -")
            #expect(bad.status == 65 && bad.errors.contains("standard input: starts with 'x'"))
        }
    }

    private enum TinyTour {
        static let base = fixture("tiny-llama")
    }
}

import Foundation
import Testing
import TestSupport

@testable import CheckpointIO
@testable import Data

struct RecordFileTests {
    /// The value and line of each record in a file with these bytes.
    private func records(
        _ bytes: [UInt8], name: String = "records.json"
    ) throws -> [(value: JSONValue, line: Int)] {
        try withTemporaryFolder { folder in
            let path = folder + "/" + name
            try Foundation.Data(bytes).write(to: URL(fileURLWithPath: path))
            var records: [(value: JSONValue, line: Int)] = []
            try RecordFile.forEachRecord(of: path) { (value, place) throws(DataError) in
                records.append((value, place.line))
            }
            return records
        }
    }

    private func records(_ text: String) throws -> [(value: JSONValue, line: Int)] { try records(Array(text.utf8)) }

    /// The sentence that reading these bytes ends with, behind the file's path.
    private func refusal(_ bytes: [UInt8], name: String = "records.json") throws -> String {
        do {
            _ = try records(bytes, name: name)
            return ""
        } catch let error as DataError {
            #expect(error.exitStatus.rawValue == 65)
            let sentence = error.description
            let end = try #require(sentence.range(of: name)?.upperBound)
            return String(sentence[end...])
        }
    }

    private let lines = "{\"text\": \"a\"}\n\n  {\"text\": \"b\"}\r\n{\"text\": \"c\"}"

    @Test func linesAreReadWithTheirNumbers() throws {
        let found = try records(lines)
        #expect(found.map(\.line) == [1, 3, 4])
        #expect(found.map { $0.value["text"]?.stringValue } == ["a", "b", "c"])
    }

    @Test func arrayIsReadWithTheLineOnWhichEachRecordStarts() throws {
        let found = try records("\n [\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b\"}, {\"text\":\n\"c\"}]\n")
        #expect(found.map(\.line) == [3, 6, 6])
        #expect(found.map { $0.value["text"]?.stringValue } == ["a", "b", "c"])
    }

    @Test func byteOrderMarkIsPassedOver() throws {
        #expect(try records([0xEF, 0xBB, 0xBF] + lines.utf8).count == 3)
        #expect(try records([0xEF, 0xBB, 0xBF] + "[{}]".utf8).count == 1)
    }

    @Test func compressedFileGivesTheSameRecords() throws {
        let array = "[{\"text\": \"a\"},\n{\"text\": \"b\"}]"
        for (text, name) in [(lines, "a.jsonl.zst"), (array, "a.json.zst"), (lines, "without-the-suffix")] {
            let plain = try records(text)
            let packed = try records(Zstd.compress(Array(text.utf8)), name: name)
            #expect(packed.map(\.line) == plain.map(\.line))
            #expect(packed.map(\.value) == plain.map(\.value))
        }
    }

    @Test func damagedCompressedFileIsRefused() throws {
        let packed = Zstd.compress(Array(lines.utf8))
        for bytes in [Array(packed.dropLast(3)), packed + [1, 2, 3], Array(lines.utf8)] {
            #expect(throws: DataError.self) { try records(bytes, name: "a.zst") }
        }
    }

    @Test(arguments: ["", " \n\r\n\t", "[]", "[ \n ]"])
    func fileWithoutARecordIsRefused(text: String) throws {
        #expect(
            try refusal(Array(text.utf8)) == ": no record in it; a JSON array or one JSON object a line is needed")
    }

    @Test func fileThatStartsWithNeitherBracketNorBraceIsRefused() throws {
        let needed =
            "; records are a JSON array, which starts with '[', or one JSON object a line, each of which "
            + "starts with '{'"
        #expect(try refusal(Array("prompt,completion\n".utf8)) == ": starts with 'p'" + needed)
        #expect(try refusal([0x00, 0x01]) == ": starts with the byte 0" + needed)
    }

    @Test func textThatIsNotJSONIsRefusedWithItsLine() throws {
        #expect(
            try refusal(Array("{\"text\": \"a\"}\n{\"text\": \"b\"\n}\n".utf8))
                == ", line 2: not valid JSON: the text ends inside a list (the file starts with '{', so each line must "
                + "be one whole object)")
        #expect(
            try refusal(Array("[\n{\"text\": \"a\"},\n{\"text\" \"b\"}]".utf8))
                == ", line 3: not valid JSON: ':' is missing after a key")
        #expect(
            try refusal(Array("[{\"text\": \"a\"}\n] more".utf8)) == ", line 2: not valid JSON: text after the array")
        #expect(
            try refusal(Array("{\"text\": \"a\"}\n{\"text\": \"".utf8) + [0xFF] + Array("\"}".utf8))
                == ", line 2: not valid JSON: invalid UTF-8 (the file starts with '{', so each line must be one whole "
                + "object)")
    }

    @Test func lineThatIsNoObjectIsGivenToTheRecordsReader() throws {
        #expect(try records("{}\n[1]\n").map(\.line) == [1, 2])
    }

    @Test func filesOfOtherFormsAreNamedWithTheRemedy() throws {
        for (bytes, name, kind, remedy) in [
            (Array("PAR1....".utf8), "plain", "a Parquet file", "pandas.read_parquet(sys.argv[1])"),
            (Array("ARROW1\0\0".utf8), "data.arrow", "an Arrow file", "read_feather"),
            ([0xFF, 0xFF, 0xFF, 0xFF, 0x10], "plain", "an Arrow stream", "datasets.Dataset.from_file"),
            (Array("a,b\n1,2\n".utf8), "data.CSV", "a CSV table", "read_csv(sys.argv[1])"),
            (Array("a\tb\n".utf8), "data.tsv", "a table with tabs", "sep='\\t'"),
            (Array("PK\u{3}\u{4}".utf8), "data.xlsx", "a ZIP archive", "unzip -p"),
            (Array("BZh91AY".utf8), "data.jsonl.bz2", "compressed by bzip2", "bzcat"),
            ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], "plain", "compressed by xz", "xzcat"),
            (Array("- text: a\n".utf8), "data.yaml", "a YAML text", "yaml.safe_load"),
            (Array("SQLite format 3\0".utf8), "data.db", "an SQLite database", "sqlite3 -json"),
        ] as [([UInt8], String, String, String)] {
            let sentence = try refusal(bytes, name: name)
            #expect(sentence.hasPrefix(": is \(kind), not JSON; ") && sentence.contains(remedy), "\(sentence)")
        }
        #expect(try refusal(Array("a,b\n".utf8), name: "my data.csv").contains("my data.csv' > records.jsonl"))
        // What the file holds counts, not its name.
        #expect(try records(Array("{}".utf8), name: "x.csv").count == 1)
    }

    @Test func pipeIsReadToItsEnd() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/pipe"
            #expect(mkfifo(path, 0o600) == 0)
            let text = lines
            let writer = Thread {
                guard let file = fopen(path, "w") else { return }
                fputs(text, file)
                fclose(file)
            }
            writer.start()
            var found: [Int] = []
            try RecordFile.forEachRecord(of: path) { (_, place) throws(DataError) in found.append(place.line) }
            #expect(found == [1, 3, 4])
        }
    }

    @Test func missingFileIsNamedAsMissing() throws {
        let error = #expect(throws: DataError.self) {
            try RecordFile.forEachRecord(of: "/nowhere/train.json") { (_, _) throws(DataError) in }
        }
        #expect(error?.exitStatus.rawValue == 66)
        #expect(error?.description.hasPrefix("/nowhere/train.json: ") == true)
    }

    @Test func directoryIsRefused() throws {
        #expect(throws: DataError.self) {
            try RecordFile.forEachRecord(of: "/tmp") { (_, _) throws(DataError) in }
        }
    }
}

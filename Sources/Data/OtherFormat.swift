/// Files that hold records in another form than JSON, told by their first bytes or their names, and what makes JSON
/// lines of them.
enum OtherFormat {
    /// A kind of file.
    private struct Kind {
        let name: String
        /// Ends of names, without the dot.
        let suffixes: [String]
        /// What the file starts with; none where that is any text.
        let marks: [[UInt8]]
        /// What to do, with the file's path quoted for a shell in place of `FILE`.
        let remedy: String

        init(_ name: String, _ suffixes: [String], _ marks: [[UInt8]], _ remedy: String) {
            self.name = name
            self.suffixes = suffixes
            self.marks = marks
            self.remedy = remedy
        }

        /// A kind that pandas reads.
        static func table(
            _ name: String, _ suffixes: [String], _ marks: [[UInt8]], reader: String
        ) -> Kind {
            Kind(
                name, suffixes, marks,
                "make JSON lines of it: python3 -c \"import pandas, sys; pandas.\(reader).to_json(sys.stdout, "
                    + "orient='records', lines=True)\" FILE > records.jsonl")
        }

        /// A kind that a program unpacks.
        static func packed(_ name: String, _ suffixes: [String], _ marks: [[UInt8]], by program: String) -> Kind {
            Kind(name, suffixes, marks, "unpack it: \(program) FILE, or into a pipe: \(program) FILE | tspeft ... -")
        }
    }

    private static let kinds: [Kind] = [
        .table("a Parquet file", ["parquet", "pq"], [Array("PAR1".utf8)], reader: "read_parquet(sys.argv[1])"),
        .table(
            "an Arrow file", ["feather"], [Array("ARROW1".utf8), Array("FEA1".utf8)],
            reader: "read_feather(sys.argv[1])"),
        Kind(
            "an Arrow stream", ["arrow"], [[0xFF, 0xFF, 0xFF, 0xFF]],
            "make JSON lines of it: python3 -c \"import datasets, sys; "
                + "datasets.Dataset.from_file(sys.argv[1]).to_json('records.jsonl')\" FILE"),
        .table("a CSV table", ["csv"], [], reader: "read_csv(sys.argv[1])"),
        .table("a table with tabs", ["tsv", "tab"], [], reader: "read_csv(sys.argv[1], sep='\\t')"),
        .table("an Excel workbook", ["xlsx", "xls"], [], reader: "read_excel(sys.argv[1])"),
        .packed("a ZIP archive", ["zip"], [[0x50, 0x4B, 0x03, 0x04]], by: "unzip -p"),
        .packed("compressed by bzip2", ["bz2"], [Array("BZh".utf8)], by: "bzcat"),
        .packed("compressed by xz", ["xz"], [[0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]], by: "xzcat"),
        Kind(
            "an SQLite database", ["sqlite", "sqlite3", "db"], [Array("SQLite format 3".utf8)],
            "make JSON of its table: sqlite3 -json FILE 'select * from TABLE' > records.json"),
        Kind(
            "a YAML text", ["yaml", "yml"], [],
            "make JSON of it: python3 -c \"import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), "
                + "sys.stdout)\" FILE > records.json"),
        .packed("a tar archive", ["tar"], [], by: "tar -xf"),
    ]

    /// The kind of a file that is no JSON, and the remedy; nil for JSON, and for what is not known.
    ///
    /// A name counts only where the file does not begin as JSON does.
    static func find(in bytes: [UInt8], path: String) -> (kind: String, remedy: String)? {
        let first = bytes.first { !isWhiteSpace($0) && ![0xEF, 0xBB, 0xBF].contains($0) }
        if first == UInt8(ascii: "{") || first == UInt8(ascii: "[") || bytes.isEmpty { return nil }
        let name = path.split(separator: "/").last.map(String.init) ?? ""
        let found =
            kinds.first { $0.marks.contains { bytes.starts(with: $0) } }
            ?? kinds.first { $0.suffixes.contains { name.lowercased().hasSuffix("." + $0) } }
        return found.map { kind in
            let parts = kind.remedy.split(separator: "FILE", omittingEmptySubsequences: false)
            return (kind.name, parts.joined(separator: quoted(path)))
        }
    }

    /// A path as a shell reads it back.
    private static func quoted(_ path: String) -> String {
        let isPlain = path.utf8.allSatisfy { byte in
            byte > 0x7F || "-_./,:=+@%".utf8.contains(byte) || (0x30...0x39).contains(byte)
                || (0x41...0x5A).contains(byte & 0xDF)
        }
        if isPlain, !path.isEmpty { return path }
        return "'" + path.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}

import CheckpointIO

/// Files of labelled records: tables with tabs or commas, JSON arrays and JSON lines; also compressed by Zstandard or
/// gzip, and standard input.
package enum LabelledFile {
    /// Names that a reader gives to columns which count for nothing.
    private static let passedOver: Set<String> = ["", "-", "_"]

    /// The records of files, one after the other.
    ///
    /// - Parameter columns: the names of a table's columns from the first on, where its first line does not have them.
    ///
    /// - Throws: the first thing that is wrong, with file, line and remedy; nothing is skipped.
    package static func records(of paths: [String], columns: [String]? = nil) throws(DataError) -> [LabelledRecord] {
        if paths.count(where: { $0 == RecordFile.standardInput }) > 1 {
            throw .twice(file: RecordFile.displayName(RecordFile.standardInput))
        }
        var records: [LabelledRecord] = []
        for path in paths { records += try self.records(of: path, columns: columns) }
        return records
    }

    private static func records(of path: String, columns: [String]?) throws(DataError) -> [LabelledRecord] {
        let name = RecordFile.displayName(path)
        let bytes = try RecordFile.read(path, name: name)
        let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes[3...] : bytes[...]
        let first = text.first { !($0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09) }
        guard let first else { throw .empty(file: name) }
        if columns == nil, first == UInt8(ascii: "{") || first == UInt8(ascii: "["), !isTable(path) {
            var records: [LabelledRecord] = []
            try RecordFile.forEachRecord(in: bytes, of: path) { (value, place) throws(DataError) in
                records.append(try LabelledRecord(value, at: place))
            }
            return records
        }
        guard let form = TableFile.Form.of(path, firstLine: text.prefix { $0 != 0x0A }) else {
            if let (kind, remedy) = OtherFormat.find(in: bytes, path: path) {
                throw .otherKind(file: name, kind: kind, remedy: remedy)
            }
            throw .noTable(file: name)
        }
        return try table(text, form, name, columns)
    }

    private static func isTable(_ path: String) -> Bool {
        TableFile.Form.of(path, firstLine: [UInt8]()) != nil
    }

    private static func table(
        _ text: ArraySlice<UInt8>, _ form: TableFile.Form, _ file: String, _ columns: [String]?
    ) throws(DataError) -> [LabelledRecord] {
        var table = TableFile(text, form: form, file: file)
        guard let head = try table.next() else { throw .empty(file: file) }
        var records: [LabelledRecord] = []
        let names: [String]
        var row: TableFile.Row?
        if let columns {
            (names, row) = (columns, head)
        } else if LabelledFields.texts(among: head.values) != nil {
            (names, row) = (head.values, try table.next())
        } else if isCoLA(head.values) {
            (names, row) = (["source", "label", "mark", "sentence"], head)
        } else {
            throw .noColumns(
                RecordPlace(file: file, line: head.line), found: head.values, needed: LabelledFields.needed)
        }
        guard let layout = Layout(names: names) else {
            throw .noColumns(RecordPlace(file: file, line: head.line), found: names, needed: LabelledFields.needed)
        }
        while let current = row {
            records.append(try layout.record(current, file: file))
            row = try table.next()
        }
        if records.isEmpty { throw .empty(file: file) }
        return records
    }

    /// Whether this is a row of GLUE's CoLA, whose file has no names: a source, 0 or 1, nothing or a star, a sentence.
    private static func isCoLA(_ row: [String]) -> Bool {
        row.count == 4 && ["0", "1"].contains(row[1]) && ["", "*"].contains(row[2])
    }

    /// Which columns hold what.
    private struct Layout {
        let count: Int
        let first: Int
        let second: Int?
        let label: Int?

        init?(names: [String]) {
            let known = names.filter { !passedOver.contains($0) }
            guard let (first, second) = LabelledFields.texts(among: known), let place = names.firstIndex(of: first)
            else { return nil }
            count = names.count
            self.first = place
            self.second = second.flatMap { names.firstIndex(of: $0) }
            label = LabelledFields.label(among: known).flatMap { names.firstIndex(of: $0) }
        }

        func record(_ row: TableFile.Row, file: String) throws(DataError) -> LabelledRecord {
            let place = RecordPlace(file: file, line: row.line)
            guard row.values.count == count else {
                throw .brokenRow(
                    place,
                    problem: "has \(row.values.count) \(row.values.count == 1 ? "column" : "columns") where there are "
                        + "\(count); mend the line or take it out")
            }
            return LabelledRecord(
                first: row.values[first], second: second.map { row.values[$0] },
                label: label.flatMap { LabelledFields.label(row.values[$0]) }, place: place)
        }
    }
}

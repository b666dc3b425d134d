/// Rows of a table in text: values between tabs, as GLUE's files are, or between commas, with quotes as RFC 4180 has them.
struct TableFile {
    /// What stands between the values of a row.
    enum Form: Sendable {
        case tabs
        case commas

        /// The form of a file: by its name where that says, else by its first line; nil where neither does.
        static func of(_ path: String, firstLine: some Sequence<UInt8>) -> Form? {
            let name = [".zst", ".gz"].first(where: path.hasSuffix).map { path.dropLast($0.count) } ?? path[...]
            if [".tsv", ".tab"].contains(where: name.lowercased().hasSuffix) { return .tabs }
            if name.lowercased().hasSuffix(".csv") { return .commas }
            if firstLine.contains(UInt8(ascii: "\t")) { return .tabs }
            return firstLine.contains(UInt8(ascii: ",")) ? .commas : nil
        }
    }

    /// A row and the line on which it starts.
    struct Row: Equatable {
        let values: [String]
        let line: Int
    }

    private let bytes: ArraySlice<UInt8>
    private let form: Form
    private let file: String
    private var place: Int
    private var line = 1

    /// The table in these bytes, without a byte order mark.
    init(_ bytes: ArraySlice<UInt8>, form: Form, file: String) {
        self.bytes = bytes
        self.form = form
        self.file = file
        place = bytes.startIndex
    }

    /// The next row that is no empty line; nil at the end. Throws `brokenRow` for quotes out of place and for bytes that
    /// are no UTF-8.
    mutating func next() throws(DataError) -> Row? {
        while place < bytes.endIndex {
            let start = line
            let values = try form == .tabs ? tabbedRow() : quotedRow()
            if values.count == 1, values[0].allSatisfy({ $0 == 0x20 }) { continue }
            var texts: [String] = []
            for value in values {
                guard let text = String(validating: value, as: UTF8.self) else {
                    throw .notText(RecordPlace(file: file, line: start))
                }
                texts.append(text)
            }
            return Row(values: texts, line: start)
        }
        return nil
    }

    /// Up to the end of the line, quotes being characters like others.
    private mutating func tabbedRow() -> [[UInt8]] {
        let end = bytes[place...].firstIndex(of: 0x0A) ?? bytes.endIndex
        var text = bytes[place..<end]
        if text.last == 0x0D { text.removeLast() }
        place = min(end + 1, bytes.endIndex)
        line += 1
        return text.split(separator: 0x09, omittingEmptySubsequences: false).map { Array($0) }
    }

    private mutating func quotedRow() throws(DataError) -> [[UInt8]] {
        var values: [[UInt8]] = []
        while true {
            values.append(try quotedValue())
            guard place < bytes.endIndex else { return values }
            let byte = bytes[place]
            place += 1
            if byte == UInt8(ascii: ",") { continue }
            if byte == 0x0D, place < bytes.endIndex, bytes[place] == 0x0A { place += 1 }
            line += 1
            return values
        }
    }

    /// A value up to the comma or the end of the line behind it.
    private mutating func quotedValue() throws(DataError) -> [UInt8] {
        let start = RecordPlace(file: file, line: line)
        guard place < bytes.endIndex, bytes[place] == Self.quote else {
            let end = bytes[place...].firstIndex(where: Self.endsValue) ?? bytes.endIndex
            let value = bytes[place..<end]
            if value.contains(Self.quote) {
                throw .brokenRow(start, problem: "has a quote inside a value that does not begin with one")
            }
            place = end
            return Array(value)
        }
        place += 1
        var value: [UInt8] = []
        while true {
            guard let end = bytes[place...].firstIndex(of: Self.quote) else {
                throw .brokenRow(start, problem: "begins a value with a quote that nothing closes")
            }
            value += bytes[place..<end]
            place = end + 1
            guard place < bytes.endIndex, bytes[place] == Self.quote else { break }
            value.append(Self.quote)
            place += 1
        }
        line += value.count { $0 == 0x0A }
        if place < bytes.endIndex, !Self.endsValue(bytes[place]) {
            throw .brokenRow(start, problem: "has something behind the quote that closes a value")
        }
        return value
    }

    private static let quote = UInt8(ascii: "\"")

    private static func endsValue(_ byte: UInt8) -> Bool { byte == UInt8(ascii: ",") || byte == 0x0A || byte == 0x0D }
}

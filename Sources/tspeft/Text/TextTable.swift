/// Rows of text set in columns.
struct TextTable: Sendable {
    /// How a column's cells stand in it.
    enum Alignment: Sendable { case left, right }

    private let alignments: [Alignment]
    private var rows: [Row] = []

    private enum Row {
        case cells([String])
        case rule
    }

    /// Spaces between columns.
    private static let gap = 2
    /// Characters to which a column is filled up at most; a longer cell moves the rest of its line. One very long name
    /// in a file would cost as much in every other line.
    private static let widthLimit = 200

    /// A table with one column an alignment.
    init(_ alignments: [Alignment]) {
        self.alignments = alignments
    }

    /// Adds a row; missing cells at its end are empty, surplus ones a programmer's mistake.
    mutating func add(_ cells: [String]) {
        precondition(cells.count <= alignments.count, "\(cells.count) cells for \(alignments.count) columns")
        rows.append(.cells(cells + Array(repeating: "", count: alignments.count - cells.count)))
    }

    /// Adds a line across the table.
    mutating func addRule() { rows.append(.rule) }

    /// The lines, without trailing spaces.
    var lines: [String] {
        var widths = Array(repeating: 0, count: alignments.count)
        for case .cells(let cells) in rows {
            for (column, cell) in cells.enumerated() {
                widths[column] = max(widths[column], min(Self.width(of: cell), Self.widthLimit))
            }
        }
        let total = widths.reduce(0, +) + Self.gap * max(0, widths.count - 1)
        return rows.map { row in
            switch row {
            case .rule: String(repeating: "-", count: total)
            case .cells(let cells): Self.line(cells, alignments, widths)
            }
        }
    }

    private static func line(_ cells: [String], _ alignments: [Alignment], _ widths: [Int]) -> String {
        var line = ""
        for (column, cell) in cells.enumerated() {
            if column > 0 { line += String(repeating: " ", count: gap) }
            let space = String(repeating: " ", count: max(0, widths[column] - width(of: cell)))
            line += alignments[column] == .left ? cell + space : space + cell
        }
        while line.utf8.last == UInt8(ascii: " ") { line.removeLast() }
        return line
    }

    /// The characters of a cell; those of plain text, as most is, are its bytes.
    private static func width(of cell: String) -> Int {
        cell.utf8.allSatisfy { $0 < 0x80 && $0 != UInt8(ascii: "\r") } ? cell.utf8.count : cell.count
    }
}

/// A number with `digits` digits after the point, rounded to nearest.
func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    // Beyond this a Double has no digits after the point left, and an Int might not hold it.
    guard scaled < 0x1p62 else { return "\(value)" }
    var digitsText = String(Int(scaled))
    while digitsText.count <= digits { digitsText = "0" + digitsText }
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return sign + digitsText }
    return sign + digitsText.dropLast(digits) + "." + digitsText.suffix(digits)
}

/// A part of 1 as percent with `digits` digits after the point and no sign, such as `41.3`.
func percent(_ fraction: Double, _ digits: Int = 1) -> String { fixed(100 * fraction, digits) }

/// The order in which a GGUF file holds the rows (or columns) of a tensor, beside that of a Hugging Face checkpoint. Every
/// order is a bijection of the rows; `gguf` and `huggingFace` are each other's inverses.
package enum RowOrder: Sendable, Equatable {
    /// The same.
    case asInHuggingFace
    /// Within a head of `headSize` rows, Hugging Face pairs row i with row i + headSize / 2 for the rotary embedding;
    /// GGUF files of the Llama family have the two next to each other: row `half * headSize / 2 + i` of a head lies at
    /// `2 i + half`.
    case rotaryPairs(headSize: Int)
    /// Within the first `rotarySize` rows of a head of `headSize`, Hugging Face pairs row 2 i with row 2 i + 1 for the rotary
    /// embedding; GGUF files of GLM-4 with sections have all first ones, then all second ones: row `2 i + half` of a head
    /// lies at `half * rotarySize / 2 + i`. The rows behind them stay.
    case rotaryHalves(headSize: Int, rotarySize: Int)
    /// From row `first` on, Hugging Face has heads of `headSize` rows in `groupCount` groups of `groupSize` (the value
    /// heads of a delta rule, grouped by their key head); GGUF files have the first head of every group, then the second
    /// of every group, and so on: head `group * groupSize + member` lies at `member * groupCount + group`. The rows
    /// before `first` stay.
    case transposedGroups(first: Int, groupCount: Int, groupSize: Int, headSize: Int)

    /// Whether the rows lie elsewhere.
    package var isPermuted: Bool { self != .asInHuggingFace }

    /// The row of a GGUF file that holds Hugging Face's row `row`.
    package func gguf(_ row: Int) -> Int {
        switch self {
        case .asInHuggingFace: return row
        case .rotaryPairs(let headSize):
            let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
            let (half, pair) = within.quotientAndRemainder(dividingBy: headSize / 2)
            return head * headSize + 2 * pair + half
        case .rotaryHalves(let headSize, let rotarySize):
            let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
            guard within < rotarySize else { return row }
            return head * headSize + within % 2 * (rotarySize / 2) + within / 2
        case .transposedGroups(let first, let groupCount, let groupSize, let headSize):
            return Self.transposed(row, first: first, count: groupCount, size: groupSize, headSize: headSize)
        }
    }

    /// Hugging Face's row that row `row` of a GGUF file holds.
    package func huggingFace(_ row: Int) -> Int {
        switch self {
        case .asInHuggingFace: return row
        case .rotaryPairs(let headSize):
            let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
            return head * headSize + within % 2 * (headSize / 2) + within / 2
        case .rotaryHalves(let headSize, let rotarySize):
            let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
            guard within < rotarySize else { return row }
            let (half, pair) = within.quotientAndRemainder(dividingBy: rotarySize / 2)
            return head * headSize + 2 * pair + half
        case .transposedGroups(let first, let groupCount, let groupSize, let headSize):
            // The other way, there are `groupSize` groups of `groupCount` heads.
            return Self.transposed(row, first: first, count: groupSize, size: groupCount, headSize: headSize)
        }
    }

    /// The place of a row, where heads in `count` groups of `size` become `size` groups of `count`.
    private static func transposed(_ row: Int, first: Int, count: Int, size: Int, headSize: Int) -> Int {
        guard row >= first else { return row }
        let (head, within) = (row - first).quotientAndRemainder(dividingBy: headSize)
        let (group, member) = head.quotientAndRemainder(dividingBy: size)
        return first + (member * count + group) * headSize + within
    }
}

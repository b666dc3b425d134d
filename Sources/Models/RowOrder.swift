/// The order in which a GGUF file holds the rows of a tensor, beside that of a Hugging Face checkpoint.
package enum RowOrder: Sendable, Equatable {
    /// The same.
    case asInHuggingFace
    /// Within a head of `headSize` rows, Hugging Face pairs row i with row i + headSize / 2 for the rotary embedding;
    /// GGUF files of the Llama family have the two next to each other: row `half * headSize / 2 + i` of a head lies at
    /// `2 i + half`.
    case rotaryPairs(headSize: Int)

    /// Whether the rows lie elsewhere.
    package var isPermuted: Bool { self != .asInHuggingFace }

    /// The row of a GGUF file that holds Hugging Face's row `row`.
    package func gguf(_ row: Int) -> Int {
        guard case .rotaryPairs(let headSize) = self else { return row }
        let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
        let (half, pair) = within.quotientAndRemainder(dividingBy: headSize / 2)
        return head * headSize + 2 * pair + half
    }

    /// Hugging Face's row that row `row` of a GGUF file holds.
    package func huggingFace(_ row: Int) -> Int {
        guard case .rotaryPairs(let headSize) = self else { return row }
        let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
        return head * headSize + within % 2 * (headSize / 2) + within / 2
    }
}

/// The rows of Llama's query and key projections, which Hugging Face's checkpoints and GGUF files hold in different
/// orders.
///
/// Within a head, Hugging Face pairs row i with row i + headSize / 2 for the rotary embedding; GGUF has the two next to
/// each other: row `half * headSize / 2 + i` of a head lies at `2 i + half`.
package enum RotaryRows {
    /// The row of a GGUF file that holds Hugging Face's row `row`.
    package static func gguf(_ row: Int, headSize: Int) -> Int {
        let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
        let (half, pair) = within.quotientAndRemainder(dividingBy: headSize / 2)
        return head * headSize + 2 * pair + half
    }

    /// Hugging Face's row that row `row` of a GGUF file holds.
    package static func huggingFace(_ row: Int, headSize: Int) -> Int {
        let (head, within) = row.quotientAndRemainder(dividingBy: headSize)
        return head * headSize + within % 2 * (headSize / 2) + within / 2
    }
}

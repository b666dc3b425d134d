import Compute
import TensorCore

/// What goes into an encoder's first layer: dropout(norm(word + position + type)), of which position and type may be
/// missing.
struct EncoderEmbedding {
    /// The table of words.
    let words: EmbeddingTable
    /// The table of positions [positions, hiddenSize], F32.
    var positions: Tensor?
    /// The position of a run's token of this id at this place among those that count; the place where it is nil.
    var positionOf: ((_ tokens: ArraySlice<Int32>) -> [Int])?
    /// The table of types [types, hiddenSize], F32.
    var types: Tensor?
    /// The norm of the sum.
    let norm: LayerNorm
    /// Dropout behind it.
    var dropout: HiddenDropout?

    /// The stream [tokens, hiddenSize] F32; `trained` is the words' table where it is trained.
    func forward(
        _ tokens: [Int32], _ layout: TokenLayout, _ trained: TrainableWeight?, in pass: Pass
    ) throws -> Variable {
        let tape = pass.tape
        var stream =
            try trained.map { tape.embedding(tokens, $0) } ?? Variable(try words.rows(tokens), needsGradient: false)
        if positions != nil || types != nil {
            let added = tape.context.zeros(stream.value.shape, .f32)
            add(tokens, layout, to: added)
            stream = tape.residual(stream, plus: Variable(added, needsGradient: false))
        }
        stream = norm.forward(stream, on: tape, in: .f32)
        return dropout?.forward(stream, in: pass) ?? stream
    }

    private func add(_ tokens: [Int32], _ layout: TokenLayout, to sum: Tensor) {
        let width = sum.columns
        func add(_ row: Int, of table: Tensor, to target: Int) {
            let (source, target) = (table.floats + row * width, sum.floats + target * width)
            for column in 0..<width { target[column] += source[column] }
        }
        for segment in layout.segments {
            let run = segment.queryStart..<segment.queryStart + segment.count
            let places = positionOf?(tokens[run]) ?? Array(0..<segment.count)
            for (place, row) in run.enumerated() {
                if let positions { add(places[place], of: positions, to: row) }
                if let types { add(Int(layout.types?[row] ?? 0), of: types, to: row) }
            }
        }
        withExtendedLifetime((positions, types, sum)) {}
    }
}

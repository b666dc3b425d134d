import Adapters
import CheckpointIO
import Models
import TensorCore

/// What is done to each tensor, formed when its rows are due.
extension CheckpointMerge {
    /// The shape of a tensor of the output.
    func outputShape(of tensor: MergePlan.Tensor) -> [Int] {
        tensor.value?.tensor.shape ?? tensor.source.flatMap(base.shape) ?? []
    }

    /// What is done to a tensor of the plan behind values that take its place; nil for a copy. Throws what reading the
    /// base throws.
    func change(of tensor: MergePlan.Tensor) throws -> TensorChange? {
        if tensor.role == .bias {
            if let first = tensor.contributions.first, case .scaled(let change) = weightChange(first, of: tensor) {
                return .scaled(change)
            }
            return .offset(offsets(of: tensor))
        }
        var blocks: [TensorChange.Block] = []
        for contribution in tensor.contributions { blocks.append(try block(contribution, of: tensor)) }
        let change = TensorChange.sum(of: blocks, rowCount: matrixShape(of: tensor).rows)
        guard let rows = tensor.rows else { return change }
        let replaced = TensorChange.rows(
            Dictionary(rows.rows.tokens.enumerated().map { ($1, $0) }, uniquingKeysWith: { $1 }), rows.rows.values)
        guard let change else { return replaced }
        return .sequence([replaced, change])
    }

    /// A tensor as the rows and columns that updates are added to: packed ones with the rows of each expert behind those
    /// of the one before, others with all but the first axis as columns.
    func matrixShape(of tensor: MergePlan.Tensor) -> (rows: Int, width: Int) {
        let shape = outputShape(of: tensor)
        guard shape.count > 2, tensor.contributions.contains(where: { $0.place.expert != nil }) else {
            return (shape.first ?? 1, shape.dropFirst().reduce(1, *))
        }
        return (shape.dropLast().reduce(1, *), shape.last ?? 1)
    }

    private func offsets(of tensor: MergePlan.Tensor) -> [Float] {
        var sums: [Double] = []
        for contribution in tensor.contributions {
            guard case .added(let low) = weightChange(contribution, of: tensor) else { continue }
            let bias = (low.bias ?? []).map { low.share * Double($0) }
            sums = sums.isEmpty ? bias : zip(sums, bias).map(+)
        }
        return sums.map { Float($0) }
    }

    /// What an update and its adapter's weight make of a matrix, with what stands for its gate.
    private func weightChange(_ contribution: MergePlan.Tensor.Contribution, of tensor: MergePlan.Tensor)
        -> WeightChange
    {
        let weighted = adapters[contribution.part]
        switch contribution.subject {
        case .matrix(let index):
            let update = weighted.adapter.extras.updates[index]
            let low = update.change(ofExpert: contribution.expert)
            guard let magnitude = update.magnitude else {
                return WeightChange.added(low).multiplied(by: weighted.weight)
            }
            return .rescaled(low, magnitude: magnitude.values, share: 1)
        case .module(let module):
            let shape = tensor.source.flatMap(base.shape) ?? []
            let matrix = contribution.place.expert == nil ? shape[...] : shape.dropFirst()
            let width = (contribution.place.isTransposed ? matrix.first : matrix.last) ?? 0
            let open = weighted.adapter.weightChange(of: module, inputSize: tensor.role == .bias ? 0 : width)
            // The plan has asked for the statistics.
            guard
                let change = try? open.replacingGate(
                    of: module, in: weighted.adapter, by: plan.parts[contribution.part].gates ?? .scale
                ).change
            else { preconditionFailure("the statistics of '\(module)' were checked") }
            return change.multiplied(by: weighted.weight)
        }
    }

    /// A contribution as a change of rows of its tensor's matrix.
    private func block(
        _ contribution: MergePlan.Tensor.Contribution, of tensor: MergePlan.Tensor
    ) throws -> TensorChange.Block {
        let place = contribution.place
        let (rowCount, width) = matrixShape(of: tensor)
        let shape = outputShape(of: tensor)
        let experts = place.expert == nil ? 1 : max(1, shape.first ?? 1)
        let start = (place.expert ?? 0) * (rowCount / experts)
        let rows = start..<start + rowCount / experts
        switch weightChange(contribution, of: tensor) {
        case .added(let low):
            let low = low.folded.part(place)
            if place.isTransposed {
                return TensorChange.Block(rows: rows, change: .added(low.transposed(to: place, width: width)))
            }
            if place.step > 1 {
                return TensorChange.Block(rows: rows, change: .added(low.spread(to: place, rowCount: rows.count)))
            }
            let first = start + place.offset
            return TensorChange.Block(rows: first..<first + place.count, change: .added(low))
        case .rescaled(let low, let magnitude, let share):
            if place.isTransposed || isEmbedding(contribution) {
                let low = place.isTransposed ? low.transposed(to: place, width: width) : low
                let factors = try columnFactors(of: tensor, low, magnitude: magnitude)
                return TensorChange.Block(rows: rows, change: .rescaledColumns(low, factors: factors, share: share))
            }
            let first = start + place.offset
            return TensorChange.Block(
                rows: first..<first + place.count,
                change: .rescaled(low.part(place), magnitude: place.ownRows.map { magnitude[$0] }, share: share))
        case .scaled(let change):
            if place.isTransposed { return TensorChange.Block(rows: rows, change: .scaled(change.stored)) }
            let first = start + place.offset
            let own = change.axis == .rows ? change.with(place.ownRows.map { change.factors[$0] }) : change
            return TensorChange.Block(rows: first..<first + place.count, change: .scaled(own))
        case .none(let reason): preconditionFailure("was refused: \(reason)")
        }
    }

    private func isEmbedding(_ contribution: MergePlan.Tensor.Contribution) -> Bool {
        guard case .matrix(let index) = contribution.subject else { return false }
        return adapters[contribution.part].adapter.extras.updates[index].form == .embedding
    }

    /// m / n for each column of W + s B A, n the columns' norms: DoRA of what is stored transposed, and of embeddings,
    /// whose norms run over the vocabulary.
    private func columnFactors(
        of tensor: MergePlan.Tensor, _ low: LowRankChange, magnitude: [Float]
    ) throws -> [Float] {
        let (rowCount, width) = matrixShape(of: tensor)
        let change = TensorChange.added(low.folded)
        var squares = [Double](repeating: 0, count: width)
        let strip = max(1, Self.stripElements / max(1, width))
        var sums = [Float](repeating: 0, count: strip * width)
        for start in stride(from: 0, to: rowCount, by: strip) {
            let rows = start..<min(rowCount, start + strip)
            try sums.withUnsafeMutableBufferPointer { sums in
                let part = UnsafeMutableBufferPointer(rebasing: sums[..<(rows.count * width)])
                try merged(tensor, as: .f32).readStart(rows, width: width, into: part)
                change.apply(to: part.baseAddress!, before: part.baseAddress!, rows: rows, width: width)
                for index in part.indices { squares[index % width] += Double(part[index]) * Double(part[index]) }
            }
        }
        return zip(magnitude, squares).map { magnitude, square in
            square == 0 ? 1 : magnitude / Float(square.squareRoot())
        }
    }

    private static let stripElements = 1 << 16

    /// The rows of a tensor of the plan in `dtype`, and what counts their changes.
    func made(_ tensor: MergePlan.Tensor, as dtype: DType) -> (rows: TensorStream.Rows, tally: ChangeTally) {
        if let integers = tensor.integers?.tensor, let numbers = integers.bytes(as: dtype) {
            let replaced = ReplacedNumbers(numbers, as: dtype, in: base, at: tensor.target)
            return (replaced.rows(), replaced.tally)
        }
        let merged = merged(tensor, as: dtype)
        return (merged.rows(), merged.tally)
    }

    /// The output of a tensor of the plan in `dtype`.
    func merged(_ tensor: MergePlan.Tensor, as dtype: DType) -> MergedTensor {
        MergedTensor(
            base: base, name: tensor.source, label: tensor.target, dtype: dtype, matrix: matrixShape(of: tensor),
            value: tensor.value?.tensor, makeChange: { try self.change(of: tensor) })
    }
}

extension LowRankChange {
    /// The same update of the rows that lie in a place.
    fileprivate func part(_ place: MatrixPlace) -> LowRankChange {
        let rows = place.rows
        guard rank > 0, rows != 0..<b.count / rank || place.rowStep > 1 else { return self }
        var part = self
        guard place.rowStep > 1 else {
            part.b = Array(b[rows.lowerBound * rank..<rows.upperBound * rank])
            part.bias = bias.map { Array($0[rows]) }
            return part
        }
        part.b = place.ownRows.flatMap { b[$0 * rank..<($0 + 1) * rank] }
        part.bias = bias.map { bias in place.ownRows.map { bias[$0] } }
        return part
    }

    /// The same update for all of `rowCount` rows, of which those between are another module's and stay.
    fileprivate func spread(to place: MatrixPlace, rowCount: Int) -> LowRankChange {
        guard rank > 0 else { return self }
        var result = self
        result.b = [Float](repeating: 0, count: rowCount * rank)
        for row in 0..<place.count {
            let target = (place.offset + row * place.step) * rank
            for inner in 0..<rank { result.b[target + inner] = b[row * rank + inner] }
        }
        return result
    }

    /// The update of the transposed matrix: A' for B and B' for A, at the columns of a place among `width`.
    fileprivate func transposed(to place: MatrixPlace, width: Int) -> LowRankChange {
        guard rank > 0 else { return self }
        var result = self
        var outer = [Float](repeating: 0, count: rank * width)
        for row in 0..<place.count {
            let column = place.offset + row * place.step
            for inner in 0..<rank { outer[inner * width + column] = b[row * rank + inner] }
        }
        result.b = MatrixUpdate.transposed(a, rows: rank)
        result.a = outer
        return result
    }
}

extension ScaledChange {
    /// The same change of the matrix as it is stored, transposed.
    fileprivate var stored: ScaledChange {
        var turned = ScaledChange(factors: factors, axis: axis == .rows ? .columns : .rows)
        turned.share = share
        return turned
    }
}

/// One tensor that a kind of adapter has at each module, or once for all of them.
package struct AdapterTensorRole: Sendable {
    /// The extent of one axis.
    package enum Dimension: Sendable, Hashable {
        /// The module's rank or bottleneck size.
        case rank
        /// Rows of the module's weight.
        case outputSize
        /// Columns of the module's weight.
        case inputSize
        /// 1.
        case one
    }

    /// What the key of a module's tensor ends in, such as `.lora_A.weight`; the whole key of a shared tensor.
    package let suffix: String
    /// Its axes, outermost first. A shared tensor's sizes are at least those of every module.
    package let axes: [Dimension]
    /// Whether a module can go without it.
    package let isOptional: Bool
    /// Whether M(x) is c times as large where each tensor t of the module with this mark is o + c (t - o), with o its
    /// `origin`; a method that cannot be multiplied so marks none.
    package let scalesUpdate: Bool
    /// The value at which the tensor's part of M(x) is 0.
    package let origin: Float

    /// A tensor with these axes.
    package init(
        _ suffix: String, _ axes: [Dimension], isOptional: Bool = false, scalesUpdate: Bool = false,
        origin: Float = 0
    ) {
        self.suffix = suffix
        self.axes = axes
        self.isOptional = isOptional
        self.scalesUpdate = scalesUpdate
        self.origin = origin
    }

    /// The shape in words, such as `[8, the weight's columns]`: an extent that `extents` does not have by what it is.
    ///
    /// - Parameter ofAll: whether the tensor serves all modules, so that extents other than the rank are least ones.
    func words(_ extents: [Dimension: Int], ofAll: Bool = false) -> String {
        let words = axes.map { axis in
            let weight = ofAll ? "the widest weight's" : "the weight's"
            return switch (axis, extents[axis]) {
            case (.rank, let extent?): "\(extent)"
            case (_, let extent?): ofAll ? "at least \(extent)" : "\(extent)"
            case (.rank, nil): "the rank"
            case (.outputSize, nil): weight + " rows"
            case (.inputSize, nil): weight + " columns"
            case (.one, nil): "1"
            }
        }
        return "[" + words.joined(separator: ", ") + "]"
    }

    /// The shape in a module of these sizes; `rank` is needed where there is an axis of that size.
    package func shape(rank: Int?, outputSize: Int, inputSize: Int) -> [Int] {
        axes.map {
            switch $0 {
            case .rank: rank ?? 0
            case .outputSize: outputSize
            case .inputSize: inputSize
            case .one: 1
            }
        }
    }
}

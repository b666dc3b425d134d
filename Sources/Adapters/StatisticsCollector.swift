import Compute
import TensorCore

/// Sums what the gates of an adapter do over a set of tokens into `ModuleStatistics`: run passes that it observes, read
/// `statistics`. Rows that are no tokens are left out.
package final class StatisticsCollector: GateObserver {
    private var sums: NameTable<ModuleStatistics> = [:]
    private var order: [String] = []
    private let collectsInnerSums: Bool

    /// A collector without tokens. The sums of z z' cost rank^2 operations a token and module, and two squares of 8-byte
    /// numbers a module (1 MiB at VeRA's usual rank of 256), so they are taken only on demand.
    package init(collectingInnerSums: Bool) {
        collectsInnerSums = collectingInnerSums
    }

    /// The sums so far, a module each in the order of computation.
    package var statistics: [ModuleStatistics] { order.map { sums[$0]! } }

    package func observe(
        _ projection: GatedProjection, _ decision: GateDecision, updateNorms: Tensor, outputNorms: Tensor,
        inner: Tensor?
    ) {
        var total = sums.removeValue(forKey: projection.path)
        if total == nil { order.append(projection.path) }
        var sum =
            total
            ?? ModuleStatistics(
                module: projection.path,
                rank: collectsInnerSums ? inner?.columns : nil)
        total = nil
        for (index, ratio) in decision.ratios.enumerated() where decision.counts(index) {
            let update = Double(updateNorms.floats[index])
            let output = Double(outputNorms.floats[index])
            sum.sumUpdateSquared += update * update
            sum.tokens += 1
            if decision.isActive[index] {
                sum.active += 1
                sum.sumActiveUpdateSquared += update * update
            }
            sum.sumBaseSquared += output * output
            sum.sumUpdateNorm += update
            if ratio.isFinite { sum.sumRatio += Double(ratio) }
            sum.ratioHistogram[ModuleStatistics.bin(of: ratio)] += 1
        }
        if collectsInnerSums, let inner { addInnerSums(inner, decision, to: &sum) }
        sums[projection.path] = sum
    }

    private func addInnerSums(_ inner: Tensor, _ decision: GateDecision, to sum: inout ModuleStatistics) {
        let counted = decision.isCounted?.map { $0 ? Float(1) : 0 }
        let active = decision.isActive.indices.map { decision.isActive[$0] ? counted?[$0] ?? 1 : 0 }
        func add(_ target: inout [Double]?, _ weights: [Float]?) {
            guard var values = target else { return }
            target = nil
            inner.addOuterProducts(weights: weights, to: &values)
            target = values
        }
        add(&sum.innerSums, counted)
        add(&sum.activeInnerSums, active)
    }

    package func observe(_ projection: GatedProjection, mu: UnsafeBufferPointer<Float>) {}
}

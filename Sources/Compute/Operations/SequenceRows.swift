import TensorCore

extension Tape {
    /// The rows of x [rows, width] that `indices` names, none twice: [indices.count, width] F32.
    ///
    /// Backward: the gradients of these rows are added to x's.
    package func rows(of x: Variable, _ indices: [Int32]) -> Variable {
        let context = context
        let taken = context.gatherRows(x.value, indices)
        let y = Variable(context.tensor(taken.shape, .f32), needsGradient: x.needsGradient)
        context.convert(taken, into: y.value)
        guard x.needsGradient else { return y }
        let (xSum, ySum, dtype) = (x.gradientSum, y.gradientSum, x.value.dtype)
        record {
            guard let dy = ySum.take() else { return }
            let rows = context.tensor(dy.shape, dtype)
            context.convert(dy, into: rows)
            xSum.add(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                context.scatterAddRows(rows, indices, to: dx)
            }
        }
        return y
    }

    /// The mean of each run of rows of x [rows, width]: [runs.count, width] F32. The runs, none of them empty, share no
    /// row.
    ///
    /// Backward: each row of a run of n gets 1/n of the gradient of the run's mean.
    package func means(of x: Variable, over runs: [Range<Int>]) -> Variable {
        let context = context
        let (value, width) = (x.value, x.value.columns)
        let y = Variable(context.tensor([runs.count, width], .f32), needsGradient: x.needsGradient)
        let output = y.value
        output.clear()
        context.parallel(runs.count) { items in
            for item in items {
                let mean = output.rows(item..<item + 1)
                for row in runs[item] { context.addRow(value, row, to: mean, 0) }
                let share = 1 / Float(runs[item].count)
                for column in 0..<width { mean.floats[column] *= share }
            }
        }
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                for (item, run) in runs.enumerated() {
                    let share = context.scaled(dy.rows(item..<item + 1), by: 1 / Float(run.count))
                    context.parallel(run.count, grain: 16) { rows in
                        for row in rows { context.addRow(share, 0, to: dx, run.lowerBound + row) }
                    }
                }
            }
        }
        return y
    }
}

"""What models are trained on: examples read from files, and what is wrong with them, before anything is spent.

examples      one example, whatever form its line had
forms         the forms of lines, and what each must have
training      a whole data set: read, checked, counted
statistics    how much there is of it, what is twice in it, how it looks
written       the forms in which services take it
"""
